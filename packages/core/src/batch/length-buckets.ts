import type { LengthCount, Plan } from "./plan.ts";

/** The pairs of one lane by their exact length, each length first come, first out. */
export class LengthBuckets<P extends { readonly tokens: number; isAbandoned(): boolean }> {
  readonly #buckets = new Map<number, { pair: P; since: number }[]>();
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
    if (bucket !== undefined) bucket.push({ pair, since });
    else {
      this.#buckets.set(pair.tokens, [{ pair, since }]);
      this.#lengths.splice(this.#placeOf(pair.tokens), 0, pair.tokens);
    }
    this.#size++;
    this.#tokens += pair.tokens;
  }

  /** When the pair came that has waited longest, and its length. */
  oldest(): { since: number; tokens: number } | undefined {
    let oldest: { since: number; tokens: number } | undefined;
    for (const [tokens, [head]] of this.#buckets) {
      if (oldest === undefined || head!.since < oldest.since)
        oldest = { since: head!.since, tokens };
    }
    return oldest;
  }

  /** By ascending length. */
  counts(): LengthCount[] {
    return this.#lengths.map((tokens) => ({ tokens, pairs: this.#buckets.get(tokens)!.length }));
  }

  remove(plan: Plan): P[] {
    const removed: P[] = [];
    for (const { tokens, rows } of plan) {
      const bucket = this.#buckets.get(tokens)!;
      for (const { pair } of bucket.splice(0, rows)) removed.push(pair);
      this.#size -= rows;
      this.#tokens -= rows * tokens;
      if (bucket.length === 0) this.#forget(tokens);
    }
    return removed;
  }

  dropAbandoned(): void {
    for (const [tokens, bucket] of this.#buckets) {
      const kept = bucket.filter(({ pair }) => !pair.isAbandoned());
      const dropped = bucket.length - kept.length;
      if (dropped === 0) continue;
      this.#size -= dropped;
      this.#tokens -= dropped * tokens;
      if (kept.length > 0) this.#buckets.set(tokens, kept);
      else this.#forget(tokens);
    }
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
