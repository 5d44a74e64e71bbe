import type { QueuedPair } from "./submission.ts";

/**
 * Pairs of which another request may bring the same sequence: those that wait or are being scored, and, where scores are
 * kept, the last {@link MOST_SCORED} that were scored. A score reaches the cache only when its whole request is done, and who
 * asked the cache before that would have its pairs scored again.
 */
export class EqualPairs {
  readonly #byHash = new Map<number, QueuedPair>();
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
    const twin = this.#byHash.get(hash);
    if (twin?.takes(pair) === true) {
      this.#shared++;
      return true;
    }
    this.#byHash.set(hash, pair);
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
    if (hash !== undefined && this.#byHash.get(hash) === pair) this.#byHash.delete(hash);
  }
}

/** About a second's work of a small model; each keeps its request's tokens in memory. */
export const MOST_SCORED = 4_096;
