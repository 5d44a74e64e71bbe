import type { Lane } from "@rankfleet/queue/contract";

/**
 * Core's lane for a job's pairs. Those of the express queue, whose turn it is, go before what is in hand
 * already; bulk jobs there have waited for it eight times as long as standard ones. A job in the lanes' own queue
 * whose turn was before that of one that is in hand goes before the others of its lane.
 */
export function rankOf(
  lane: Lane,
  { isExpress, isEarlier }: { isExpress: boolean; isEarlier: boolean },
): number {
  if (isExpress) return EXPRESS_RANKS[lane];
  return (isEarlier ? EARLIER_RANKS : RANKS)[lane];
}

const EXPRESS_RANKS: Readonly<Record<Lane, number>> = { interactive: 0, standard: 2, bulk: 2 };
const EARLIER_RANKS: Readonly<Record<Lane, number>> = { interactive: 1, standard: 3, bulk: 3 };
const RANKS: Readonly<Record<Lane, number>> = { interactive: 1, standard: 4, bulk: 5 };

/**
 * Whose turn is before whose, of a queue's jobs in hand. A flood's jobs are taken some tenths of a second before they are
 * scored. What another tenant sends meanwhile may have an earlier turn (`Backlog`), and would lose it here to all of these.
 */
export class Turns {
  readonly #inHand = new Map<string, number>();
  #latest = -Infinity;

  /** @returns whether one that is in hand has a later turn. */
  begin(jobId: string, turn: number): boolean {
    this.#inHand.set(jobId, turn);
    if (turn < this.#latest) return true;
    this.#latest = turn;
    return false;
  }

  end(jobId: string): void {
    const turn = this.#inHand.get(jobId);
    this.#inHand.delete(jobId);
    if (turn === this.#latest) this.#latest = Math.max(...this.#inHand.values());
  }
}
