import { byTrecOrder, type ScoredDocument } from "../metrics/trec-order.ts";

/**
 * Joins rankings that score on different scales: a document's score is the sum of 1 / (k + rank) over
 * the rankings that hold it (Cormack, Clarke & Büttcher, SIGIR 2009, whose k is 60).
 *
 * @returns Best first, at most `depth`, in the order of trec_eval.
 */
export function reciprocalRankFusion(
  rankings: readonly (readonly ScoredDocument[])[],
  depth: number,
  k = 60,
): ScoredDocument[] {
  const scores = new Map<string, number>();
  for (const ranking of rankings) {
    for (const [index, { id }] of ranking.entries()) {
      scores.set(id, (scores.get(id) ?? 0) + 1 / (k + index + 1));
    }
  }
  return [...scores]
    .map(([id, score]) => ({ id, score }))
    .toSorted(byTrecOrder)
    .slice(0, depth);
}
