import type { QueuedPair } from "./submission.ts";

/**
 * Pairs of which another request may bring the same sequence: those that wait or are being scored, and, where scores are
 * kept, the last {@link MOST_SCORED} that were scored. A score reaches the cache only when its whole request is done, and who
 * asked the cache before that would have its pairs scored again.
 */
export class EqualPairs {
  /**
   * Pairs whose hash ends in the same bits, each chained to the next. Hundreds of thousands a second come and go, for which a
   * Map would be laid out anew all the time: that took a tenth of the main thread.
   */
  #chains: (QueuedPair | undefined)[] = Array.from({ length: 1024 });
  #size = 0;
  /** A ring: the next one to be scored takes the oldest one's place. */
  readonly #scored: QueuedPair[] = [];
  readonly #remembersScored: boolean;
  #next = 0;
  #shared = 0;

  constructor({ remembersScored }: { readonly remembersScored: boolean }) {
    this.#remembersScored = remembersScored;
  }

  /** Pairs that needed no forward pass of their own. */
  get shared(): number {
    return this.#shared;
  }

  /**
   * Has the pair share an equal one's forward pass, or its score, if there is an equal one; else later pairs may share this one's.
   *
   * @returns whether it shares; if not, it is to be scored.
   */
  share(pair: QueuedPair): boolean {
    const { hash } = pair;
    if (hash === undefined) return false;
    for (let other = this.#chainOf(hash); other !== undefined; other = other.nextInChain) {
      if (other.hash !== hash || !other.takes(pair)) continue;
      this.#shared++;
      return true;
    }
    this.#link(pair, hash);
    if (++this.#size > this.#chains.length) this.#double();
    return false;
  }

  /** To be called once its score is known. */
  scored(pair: QueuedPair): void {
    if (pair.hash === undefined) return;
    if (!this.#remembersScored) return this.forget(pair);
    const oldest = this.#scored[this.#next];
    if (oldest !== undefined) this.forget(oldest);
    this.#scored[this.#next] = pair;
    this.#next = (this.#next + 1) % MOST_SCORED;
  }

  /** Whoever comes with the same pair now has it scored anew. */
  forget(pair: QueuedPair): void {
    const { hash } = pair;
    if (hash === undefined) return;
    let before: QueuedPair | undefined;
    let other = this.#chainOf(hash);
    while (other !== undefined && other !== pair) [before, other] = [other, other.nextInChain];
    if (other === undefined) return;
    if (before === undefined) this.#chains[this.#placeOf(hash)] = pair.nextInChain;
    else before.nextInChain = pair.nextInChain;
    pair.nextInChain = undefined;
    this.#size--;
  }

  #placeOf(hash: number): number {
    return hash & (this.#chains.length - 1);
  }

  #chainOf(hash: number): QueuedPair | undefined {
    return this.#chains[this.#placeOf(hash)];
  }

  #link(pair: QueuedPair, hash: number): void {
    const place = this.#placeOf(hash);
    pair.nextInChain = this.#chains[place];
    this.#chains[place] = pair;
  }

  #double(): void {
    const chains = this.#chains;
    this.#chains = Array.from({ length: 2 * chains.length });
    for (let pair of chains) {
      while (pair !== undefined) {
        const next: QueuedPair | undefined = pair.nextInChain;
        this.#link(pair, pair.hash!);
        pair = next;
      }
    }
  }
}

/** About a second's work of a small model; each keeps its request's tokens in memory. */
export const MOST_SCORED = 4_096;
