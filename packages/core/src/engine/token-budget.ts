/**
 * How large a batch may be, in padded tokens. A batch of which both halves pass was too large (for the memory, most
 * of all): that halves it below the size that failed; every batch that succeeds lets it recover by a little, so the
 * next try at the old size comes after some hundred batches.
 */
export class TokenBudget {
  readonly #most: number;
  #tokens: number;

  constructor(most: number) {
    this.#most = most;
    this.#tokens = most;
  }

  get tokens(): number {
    return Math.floor(this.#tokens);
  }

  /** @param paddedTokens Of the batch that was too large. */
  failed(paddedTokens: number): void {
    this.#tokens = Math.max(LEAST_TOKENS, Math.min(this.#tokens, paddedTokens) / 2);
  }

  succeeded(): void {
    this.#tokens = Math.min(this.#most, this.#tokens * RECOVERY);
  }
}

const LEAST_TOKENS = 16;
/** Doubles in 350 batches. */
const RECOVERY = 1.002;
