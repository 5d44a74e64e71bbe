/**
 * The pairs that wait for a device, and the choice of the next batch among them.
 *
 * A batch is rectangular, so its cost is its longest pair × its rows, and a pair beside a longer one
 * pays for padding. Hence pairs wait in buckets by their exact token length, and a batch is the oldest
 * pair of the most urgent lane plus its nearest neighbours in length, while the padded size stays
 * within the budget. The oldest pair is always in the next batch, so none starves; nothing ever waits
 * for company. Pure: no clock, no I/O.
 */
export interface WaitingPair {
  /** Tokens of the pair, special tokens included. */
  readonly tokens: number;
  /** 0 is the most urgent lane. */
  readonly lane: number;
  /** True once nobody wants the score any more; such a pair is dropped instead of scored. */
  isAbandoned(): boolean;
}

interface Waiting<P> {
  readonly pair: P;
  /** Order of urgency: lane first, then age. */
  readonly rank: number;
}

/** Lanes are few and sequence numbers stay far below this. */
const LANE_STRIDE = 2 ** 48;

export class PairQueue<P extends WaitingPair> {
  /** By token length; each bucket is sorted by rank, so its head is its most urgent pair. */
  readonly #buckets = new Map<number, Waiting<P>[]>();
  #sequence = 0;
  #pairs = 0;
  #tokens = 0;

  /** Waiting pairs. */
  get size(): number {
    return this.#pairs;
  }

  /** Waiting tokens, without padding. */
  get tokens(): number {
    return this.#tokens;
  }

  add(pair: P): void {
    const waiting = { pair, rank: pair.lane * LANE_STRIDE + this.#sequence++ };
    const bucket = this.#buckets.get(pair.tokens);
    if (bucket === undefined) {
      this.#buckets.set(pair.tokens, [waiting]);
    } else {
      // Almost always the last place: only a more urgent lane goes before what already waits.
      let place = bucket.length;
      while (place > 0 && bucket[place - 1]!.rank > waiting.rank) place--;
      bucket.splice(place, 0, waiting);
    }
    this.#pairs++;
    this.#tokens += pair.tokens;
  }

  /**
   * Removes and returns the next batch, shortest pair first; empty if nothing waits.
   *
   * @param paddedTokens Most tokens, padding included. A longer single pair still goes, alone.
   * @param maxPadding Largest share of a batch that may be padding, 0 … 1. Default 0.05.
   */
  take(paddedTokens: number, maxPadding = 0.05): P[] {
    this.#dropAbandoned();
    const anchor = this.#mostUrgentLength();
    if (anchor === undefined) return [];
    const chosen = this.#around(anchor, paddedTokens, maxPadding);
    const batch = chosen.flatMap(({ tokens, rows }) => this.#remove(tokens, rows));
    this.#pairs -= batch.length;
    for (const pair of batch) this.#tokens -= pair.tokens;
    return batch;
  }

  #mostUrgentLength(): number | undefined {
    let best: { tokens: number; rank: number } | undefined;
    for (const [tokens, bucket] of this.#buckets) {
      const rank = bucket[0]!.rank;
      if (best === undefined || rank < best.rank) best = { tokens, rank };
    }
    return best?.tokens;
  }

  /** Grows from the anchor's bucket towards the nearer length, below or above, until nothing fits. */
  #around(anchor: number, budget: number, maxPadding: number): { tokens: number; rows: number }[] {
    const lengths = [...this.#buckets.keys()].sort((a, b) => a - b);
    const waiting = (tokens: number): number => this.#buckets.get(tokens)!.length;
    let [low, high] = [lengths.indexOf(anchor) - 1, lengths.indexOf(anchor) + 1];
    const first = Math.max(1, Math.min(waiting(anchor), Math.floor(budget / anchor)));
    const chosen = [{ tokens: anchor, rows: first }];
    let [longest, rows, real] = [anchor, first, first * anchor];
    if (first < waiting(anchor)) return chosen;
    while (low >= 0 || high < lengths.length) {
      const isBelow =
        high >= lengths.length || (low >= 0 && anchor - lengths[low]! <= lengths[high]! - anchor);
      const tokens = isBelow ? lengths[low--]! : lengths[high++]!;
      const width = Math.max(longest, tokens);
      let fits = Math.min(waiting(tokens), Math.floor(budget / width) - rows);
      while (fits > 0 && 1 - (real + fits * tokens) / (width * (rows + fits)) > maxPadding) fits--;
      if (fits <= 0) {
        // Too much padding on this side; the other side may still have near lengths.
        if (isBelow) low = -1;
        else high = lengths.length;
        continue;
      }
      chosen.push({ tokens, rows: fits });
      [longest, rows, real] = [width, rows + fits, real + fits * tokens];
    }
    return chosen.sort((a, b) => a.tokens - b.tokens);
  }

  #remove(tokens: number, rows: number): P[] {
    const bucket = this.#buckets.get(tokens)!;
    const removed = bucket.splice(0, rows);
    if (bucket.length === 0) this.#buckets.delete(tokens);
    return removed.map(({ pair }) => pair);
  }

  #dropAbandoned(): void {
    for (const [tokens, bucket] of this.#buckets) {
      if (!bucket.some(({ pair }) => pair.isAbandoned())) continue;
      const kept = bucket.filter(({ pair }) => !pair.isAbandoned());
      this.#pairs -= bucket.length - kept.length;
      this.#tokens -= (bucket.length - kept.length) * tokens;
      if (kept.length === 0) this.#buckets.delete(tokens);
      else this.#buckets.set(tokens, kept);
    }
  }
}
