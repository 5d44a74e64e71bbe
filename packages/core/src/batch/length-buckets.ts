import { Line, type InLine } from "./line.ts";
import type { LengthCount, Plan } from "./plan.ts";

/** The pairs of one lane by their exact length. */
export class LengthBuckets<P extends InLine & { readonly tokens: number }> {
  readonly #lines = new Map<number, Line<P>>();
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
    let line = this.#lines.get(pair.tokens);
    if (line === undefined) {
      this.#lines.set(pair.tokens, (line = new Line()));
      this.#lengths.splice(this.#placeOf(pair.tokens), 0, pair.tokens);
    }
    line.add(pair, since);
    this.#size++;
    this.#tokens += pair.tokens;
  }

  /** When the pair came that has waited longest, and its length. */
  oldest(): { since: number; tokens: number } | undefined {
    let oldest: { since: number; tokens: number } | undefined;
    for (const [tokens, { oldestSince: since }] of this.#lines) {
      if (oldest === undefined || since < oldest.since) oldest = { since, tokens };
    }
    return oldest;
  }

  /** The nearest deadline, and the length of the pair that has it. */
  mostPressing(): { deadline: number; tokens: number } | undefined {
    let first: { deadline: number; tokens: number } | undefined;
    for (const [tokens, { nearestDeadline: deadline }] of this.#lines) {
      if (deadline < (first?.deadline ?? Infinity)) first = { deadline, tokens };
    }
    return first;
  }

  /** By ascending length. */
  counts(): LengthCount[] {
    return this.#lengths.map((tokens) => ({
      tokens,
      pairs: this.#lines.get(tokens)!.size,
    }));
  }

  /** Of each length those first whose deadline comes until then, the nearest before all; then the oldest. */
  moveTo(batch: P[], plan: Plan, until: number = -Infinity): void {
    for (const { tokens, rows } of plan) {
      const line = this.#lines.get(tokens)!;
      line.moveTo(batch, rows, until);
      this.#size -= rows;
      this.#tokens -= rows * tokens;
      if (line.size === 0) this.#forget(tokens);
    }
  }

  /** Returns the pairs that nobody wants any more. */
  dropAbandoned(): P[] {
    const abandoned: P[] = [];
    for (const [tokens, line] of this.#lines) {
      for (const pair of line.dropAbandoned()) {
        abandoned.push(pair);
        this.#size--;
        this.#tokens -= tokens;
      }
      if (line.size === 0) this.#forget(tokens);
    }
    return abandoned;
  }

  #forget(tokens: number): void {
    this.#lines.delete(tokens);
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
