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
  const { mean, deviation } = moments(scored.map(({ first }) => first));
  if (deviation === 0) return [...logits];
  return logits.map((logit, index) =>
    logit === null
      ? null
      : logit + (weight * spread * ((firstStage[index] ?? 0) - mean)) / deviation,
  );
}

function moments(values: readonly number[]): { mean: number; deviation: number } {
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
  const variance = values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / values.length;
  return { mean, deviation: Math.sqrt(variance) };
}
