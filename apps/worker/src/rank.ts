import type { Lane } from "@rankfleet/queue/contract";

/**
 * Core's lane for a job's pairs. Those of the express queue, whose turn it is, go before what is in hand
 * already; bulk jobs there have waited for it eight times as long as standard ones.
 */
export function rankOf(lane: Lane, isExpress: boolean): number {
  return (isExpress ? EXPRESS_RANKS : RANKS)[lane];
}

const EXPRESS_RANKS: Readonly<Record<Lane, number>> = { interactive: 0, standard: 2, bulk: 2 };
const RANKS: Readonly<Record<Lane, number>> = { interactive: 1, standard: 3, bulk: 4 };
