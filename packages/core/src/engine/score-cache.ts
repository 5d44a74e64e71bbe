import type { CoreFailure } from "../errors.ts";

/** What a document got when it was scored against a query before. */
export interface KeptScore {
  readonly logit: number;
  readonly tokens: number;
  readonly isTruncated: boolean;
  /** Forward-pass rows that it took. */
  readonly pairs: number;
}

/** A document that could not be scored, and is not to be tried again. */
export interface KeptFailure {
  readonly failure: CoreFailure;
}

/** Scores of documents, here or elsewhere, by the digest of query, document and length policy. */
export interface ScoreCache {
  /** Nothing can be known or kept now, so it need not be asked. */
  readonly isIdle?: boolean;
  /** One entry for each digest; `undefined` where nothing is known. Never rejects: no answer is no hit. */
  get(digests: readonly string[]): Promise<readonly (KeptScore | KeptFailure | undefined)[]>;
  /** Keeps what was newly scored; the caller does not wait for it. Absent where nothing is kept. */
  readonly put?:
    | ((scores: readonly (readonly [digest: string, score: KeptScore])[]) => void)
    | undefined;
}
