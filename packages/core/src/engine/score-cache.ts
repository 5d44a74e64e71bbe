import type { PairOutcome } from "./submission.ts";

/** Logits of pairs that were scored before, here or elsewhere, by the pairs' digests. */
export interface ScoreCache {
  /** One entry for each digest; `undefined` where nothing is known. Never rejects: no answer is no hit. */
  get(digests: readonly string[]): Promise<readonly (number | undefined)[]>;
  /** Keeps what was newly scored; the caller does not wait for it. */
  put(
    digests: readonly string[],
    outcomes: readonly PairOutcome[],
    known: readonly (number | undefined)[] | undefined,
  ): void;
}
