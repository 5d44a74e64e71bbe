import type { LengthCount, Plan } from "./plan.ts";

/** Two columns rather than an object for each pair: there are hundreds of thousands a second. */
interface Bucket<P> {
  readonly pairs: P[];
  readonly since: number[];
}

/** The pairs of one lane by their exact length, each length first come, first out. */
export class LengthBuckets<P extends { readonly tokens: number; isAbandoned(): boolean }> {
  readonly #buckets = new Map<number, Bucket<P>>();
  /** The lengths in ascending order. */
  readonly #lengths: number[] = [];
  #size = 0;
  #tokens = 0;

  get size(): number {
    return this.#size;
  }

  get tokens(): number {
    return this.#tokens;
  }

  /** @param since The number of the batch that is next while the pair comes. */
  add(pair: P, since: number): void {
    const bucket = this.#buckets.get(pair.tokens);
    if (bucket !== undefined) {
      bucket.pairs.push(pair);
      bucket.since.push(since);
    } else {
      this.#buckets.set(pair.tokens, { pairs: [pair], since: [since] });
      this.#lengths.splice(this.#placeOf(pair.tokens), 0, pair.tokens);
    }
    this.#size++;
    this.#tokens += pair.tokens;
  }

  /** When the pair came that has waited longest, and its length. */
  oldest(): { since: number; tokens: number } | undefined {
    let oldest: { since: number; tokens: number } | undefined;
    for (const [tokens, { since }] of this.#buckets) {
      const [first] = since;
      if (oldest === undefined || first! < oldest.since) oldest = { since: first!, tokens };
    }
    return oldest;
  }

  /** By ascending length. */
  counts(): LengthCount[] {
    return this.#lengths.map((tokens) => ({
      tokens,
      pairs: this.#buckets.get(tokens)!.pairs.length,
    }));
  }

  remove(plan: Plan): P[] {
    const removed: P[] = [];
    for (const { tokens, rows } of plan) {
      const bucket = this.#buckets.get(tokens)!;
      for (const pair of bucket.pairs.splice(0, rows)) removed.push(pair);
      bucket.since.splice(0, rows);
      this.#size -= rows;
      this.#tokens -= rows * tokens;
      if (bucket.pairs.length === 0) this.#forget(tokens);
    }
    return removed;
  }

  /** Returns the pairs that nobody wants any more. */
  dropAbandoned(): P[] {
    const abandoned: P[] = [];
    for (const [tokens, bucket] of this.#buckets) {
      const kept: Bucket<P> = { pairs: [], since: [] };
      for (const [index, pair] of bucket.pairs.entries()) {
        if (pair.isAbandoned()) {
          abandoned.push(pair);
          continue;
        }
        kept.pairs.push(pair);
        kept.since.push(bucket.since[index]!);
      }
      const dropped = bucket.pairs.length - kept.pairs.length;
      if (dropped === 0) continue;
      this.#size -= dropped;
      this.#tokens -= dropped * tokens;
      if (kept.pairs.length > 0) this.#buckets.set(tokens, kept);
      else this.#forget(tokens);
    }
    return abandoned;
  }

  #forget(tokens: number): void {
    this.#buckets.delete(tokens);
    this.#lengths.splice(this.#placeOf(tokens), 1);
  }

  /** Where the length stands, or would stand. */
  #placeOf(tokens: number): number {
    let [low, high] = [0, this.#lengths.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.#lengths[middle]! < tokens) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}
