import type { KeptFailure, KeptScore } from "./engine/score-cache.ts";
import type { PairScores } from "./engine/submission.ts";
import type { CoreFailure } from "./errors.ts";
import type { EncodedDocuments, EncodedRequest } from "./tokenize/pairs.ts";

export type ScoredDocument =
  | {
      readonly state: "scored";
      /** The model's answer, without its activation. */
      readonly logit: number;
      /** Tokens read for it, query and special tokens included. */
      readonly tokens: number;
      readonly isTruncated: boolean;
    }
  | { readonly state: "failed"; readonly failure: CoreFailure };

/** A document's logit is its best part's; it fails only if every part did. */
export function toScored(
  { pairs: { offsets }, documents: { firstPairs, truncated, failures } }: EncodedRequest,
  scores: PairScores,
): ScoredDocument[] {
  const documents: ScoredDocument[] = [];
  for (let index = 0; index < truncated.length; index++) {
    const [first, end] = [firstPairs[index]!, firstPairs[index + 1]!];
    let [logit, scored] = [-Infinity, 0];
    for (let pair = first; pair < end; pair++) {
      if (Number.isNaN(scores.logits[pair])) continue;
      logit = Math.max(logit, scores.logits[pair]!);
      scored++;
    }
    if (scored > 0) {
      const isTruncated = truncated[index] === 1 || scored < end - first;
      documents.push({
        state: "scored",
        logit,
        tokens: offsets[end]! - offsets[first]!,
        isTruncated,
      });
      continue;
    }
    const failure = failures.get(index) ?? scores.failures.get(first);
    if (failure === undefined)
      throw new Error("bug: a document without a score and without a failure");
    documents.push({ state: "failed", failure });
  }
  return documents;
}

/** Every document's score: what was known, and between it what was scored now. */
export function inOrder(
  known: readonly (KeptScore | KeptFailure | undefined)[],
  rest: readonly ScoredDocument[],
): ScoredDocument[] {
  let next = 0;
  return known.map((kept, index) => {
    if (kept !== undefined && "failure" in kept) {
      const failure = { ...kept.failure, field: `documents[${index}]` };
      return { state: "failed", failure };
    }
    if (kept !== undefined) {
      const { logit, tokens, isTruncated } = kept;
      return { state: "scored", logit, tokens, isTruncated };
    }
    const scored = rest[next++]!;
    if (scored.state === "scored") return scored;
    // The thread has counted only the documents that it was given.
    return { ...scored, failure: { ...scored.failure, field: `documents[${index}]` } };
  });
}

export function toKeep(
  digests: readonly string[],
  known: readonly (KeptScore | KeptFailure | undefined)[],
  { firstPairs }: EncodedDocuments,
  rest: readonly ScoredDocument[],
): [string, KeptScore][] {
  const unknown = digests.filter((_, index) => known[index] === undefined);
  return unknown.flatMap((digest, i): [string, KeptScore][] => {
    const scored = rest[i]!;
    if (scored.state === "failed") return [];
    const { logit, tokens, isTruncated } = scored;
    return [[digest, { logit, tokens, isTruncated, pairs: firstPairs[i + 1]! - firstPairs[i]! }]];
  });
}

export function pairsOf(known: readonly (KeptScore | KeptFailure | undefined)[] = []): number {
  return known.reduce(
    (sum, kept) => sum + (kept === undefined || "failure" in kept ? 0 : kept.pairs),
    0,
  );
}

export function logitOf(document: ScoredDocument): number | null {
  return document.state === "scored" ? document.logit : null;
}
