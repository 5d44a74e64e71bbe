/** How the batches of late went. */
export class Pace {
  #batchMs: number;
  #length: number | undefined;
  #tookMs = 0;
  #expectedMs = 0;

  /** @param batchMs What a batch is taken to last until there was one. */
  constructor(batchMs: number) {
    this.#batchMs = batchMs;
  }

  /** Mean ms of a batch. */
  get batchMs(): number {
    return this.#batchMs;
  }

  /** Mean tokens of a batch's longest row. */
  get length(): number {
    return Math.max(1, Math.round(this.#length ?? USUAL_LENGTH));
  }

  /**
   * What batches took ÷ what the cost model said: above 1 on a machine that has become slower, or where the
   * calibration met other lengths; 1 again once the model has learnt it, which takes hundreds of batches.
   */
  get slowness(): number {
    return this.#expectedMs > 0 ? this.#tookMs / this.#expectedMs : 1;
  }

  /** @param batch.length Tokens of its longest row. */
  observe({ length, ms, expectedMs }: { length: number; ms: number; expectedMs: number }): void {
    this.#batchMs = mean(this.#batchMs, ms);
    this.#length = mean(this.#length ?? length, length);
    this.#tookMs = mean(this.#tookMs, ms);
    this.#expectedMs = mean(this.#expectedMs, expectedMs);
  }
}

/** Of the latest batch in a mean. */
const SHARE = 0.1;
/** Tokens of a pair, until there was a batch. */
const USUAL_LENGTH = 128;

function mean(before: number, now: number): number {
  return before + SHARE * (now - before);
}
