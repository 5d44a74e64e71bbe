import type { JobEnvelope } from "@rankfleet/queue/contract";

/**
 * In which order the pairs of jobs in hand are scored. The queue hands out jobs fairly, but what a worker has in
 * hand may be of one tenant alone; a guest, who has little in hand beside others, goes before them.
 */
export class TenantsInHand {
  /** Documents in hand, by lane and tenant. */
  readonly #documents = new Map<string, number>();

  /** Counts the job in; returns core's lane for its pairs, and what counts it out. */
  enter({ lane, tenant = "", documents }: Pick<JobEnvelope, "lane" | "tenant" | "documents">): {
    readonly rank: number;
    readonly leave: () => void;
  } {
    const key = `${lane}/${tenant}`;
    const own = this.#documents.get(key) ?? 0;
    let [all, tenants] = [0, own === 0 ? 1 : 0];
    for (const [other, count] of this.#documents) {
      if (!other.startsWith(`${lane}/`)) continue;
      all += count;
      tenants++;
    }
    // Half of an equal share: tenants that are equally busy do not overtake each other in turns.
    const isGuest = tenants > 1 && 2 * own * tenants < all;
    this.#documents.set(key, own + documents);
    return {
      rank: RANKS[lane] - (isGuest && lane !== "interactive" ? 1 : 0),
      leave: () => {
        const left = (this.#documents.get(key) ?? 0) - documents;
        if (left > 0) this.#documents.set(key, left);
        else this.#documents.delete(key);
      },
    };
  }
}

/** Before each lane but the first there is room for its guests. */
const RANKS: Readonly<Record<JobEnvelope["lane"], number>> = {
  interactive: 0,
  standard: 2,
  bulk: 4,
};
