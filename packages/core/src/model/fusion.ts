/**
 * A reranker's logits and the first stage's scores in one. Both are standardised over the request's
 * candidates, since a first stage's scale is its own; then
 *
 *     fused = logit + weight · spread(logits) · standardised(first stage)
 *
 * so the order is that of standardised(logit) + weight · standardised(first stage), on the logits' scale.
 *
 * @param logits null where a document could not be scored, which stays null.
 * @param weight How much the first stage counts beside the model; learnt in training.
 */
export function fuse(
  logits: readonly (number | null)[],
  firstStage: readonly number[],
  weight: number,
): (number | null)[] {
  const scored = logits.flatMap((logit, index) =>
    logit === null ? [] : [{ logit, first: firstStage[index] ?? 0 }],
  );
  const { deviation: spread } = moments(scored.map(({ logit }) => logit));
  const firsts = scored.map(({ first }) => first);
  // Asked of the scores and not of their deviation: the mean of equal ones is seldom quite equal to them.
  if (firsts.every((first) => first === firsts[0])) return [...logits];
  const unit = unitOf(firsts);
  const { mean, deviation } = moments(firsts.map((first) => first / unit));
  return logits.map((logit, index) =>
    logit === null
      ? null
      : logit + (weight * spread * ((firstStage[index] ?? 0) / unit - mean)) / deviation,
  );
}

/**
 * A power of two, so that division by it rounds nothing. Without it the squares of large scores are infinite and those of
 * small ones 0; some first stages give `-Number.MAX_VALUE` to what they have not found.
 */
function unitOf(values: readonly number[]): number {
  const largest = values.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
  // The logarithm of the largest number of all rounds up to 1024, of which there is no power.
  return 2 ** Math.min(1023, Math.floor(Math.log2(largest)));
}

function moments(values: readonly number[]): { mean: number; deviation: number } {
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
  const variance = values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / values.length;
  return { mean, deviation: Math.sqrt(variance) };
}
