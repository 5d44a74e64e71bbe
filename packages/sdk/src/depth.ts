let hasWarned = false;

/**
 * More candidates are not better: scoring far beyond the first 100 of a first stage can *lower* recall,
 * because a cross-encoder gives some unrelated document a high score sooner or later ("Drowning in
 * Documents", arXiv 2411.11767). Said once a process.
 */
export function warnOfDepth(documents: number, above = 100): void {
  if (hasWarned || documents <= above) return;
  hasWarned = true;
  process.emitWarning(
    `a request has ${documents} candidates. Reranking far more than 100 costs a forward pass each and can lower recall ` +
      `("Drowning in Documents", arXiv 2411.11767). Silence this with new RerankClient({ warnAboveDocuments: Infinity })`,
    { type: "RankfleetWarning", code: "RANKFLEET_DEPTH" },
  );
}
