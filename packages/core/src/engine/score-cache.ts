/** Logits of pairs that were scored before, here or elsewhere, by the pairs' digests. */
export interface ScoreCache {
  /** One entry for each digest; `undefined` where nothing is known. Never rejects: no answer is no hit. */
  get(digests: readonly string[]): Promise<readonly (number | undefined)[]>;
  /** Keeps what was newly scored, NaN excepted; the caller does not wait for it. */
  put(
    digests: readonly string[],
    logits: Float64Array,
    known: readonly (number | undefined)[] | undefined,
  ): void;
}
