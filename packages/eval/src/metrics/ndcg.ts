import { type ScoredDocument, trecOrder } from "./trec-order.ts";

/**
 * What a grade is worth: itself, as in trec_eval, BEIR and the TREC tracks; or `2^grade - 1`, as in
 * learning-to-rank work (Burges et al. 2005). For binary judgments they are the same.
 */
export type Gain = "linear" | "exponential";

export interface NdcgOptions {
  /** How many documents from the top count. Default 10. */
  readonly k?: number;
  /** Default `linear`. */
  readonly gain?: Gain;
}

/** Grades by document; absent or below 1 is not relevant. */
export type Grades = ReadonlyMap<string, number>;

/**
 * nDCG@k of one query, 0 to 1, as trec_eval's `ndcg_cut` computes it (m_ndcg_cut.c,
 * usnistgov/trec_eval at dc0c991): the sum of gain / log2(rank + 1) over the first k documents,
 * divided by the same sum for the best possible order of all judged documents, retrieved or not.
 * After Järvelin and Kekäläinen, ACM TOIS 20(4), 2002.
 *
 * @returns 0 if no document is relevant; trec_eval leaves its undivided sum, which is 0 too.
 */
export function ndcg(
  ranking: readonly ScoredDocument[],
  grades: Grades,
  options: NdcgOptions = {},
): number {
  return ndcgOfOrdered(trecOrder(ranking), grades, options);
}

/** The same of a ranking that is in {@link trecOrder} already. */
export function ndcgOfOrdered(
  ordered: readonly ScoredDocument[],
  grades: Grades,
  options: NdcgOptions = {},
): number {
  const { k = 10, gain = "linear" } = options;
  const ideal = [...grades.values()].toSorted((a, b) => b - a);
  const best = discountedGain(ideal.slice(0, k), gain);
  if (best === 0) return 0;
  const found = ordered.slice(0, k).map(({ id }) => grades.get(id) ?? 0);
  return discountedGain(found, gain) / best;
}

export interface MeanNdcg {
  readonly mean: number;
  /** By query id, in the order of the judgments. */
  readonly byQuery: ReadonlyMap<string, number>;
}

/**
 * The mean over all queries that have a relevant document; one that is missing from `rankings`
 * counts as 0, like trec_eval with `-c`. Queries without a relevant document say nothing about a
 * ranking and are left out. NaN if none is left.
 */
export function meanNdcg(
  rankings: ReadonlyMap<string, readonly ScoredDocument[]>,
  judgments: ReadonlyMap<string, Grades>,
  options: NdcgOptions = {},
): MeanNdcg {
  const byQuery = new Map<string, number>();
  for (const [query, grades] of judgments) {
    if (![...grades.values()].some((grade) => grade > 0)) continue;
    byQuery.set(query, ndcg(rankings.get(query) ?? [], grades, options));
  }
  const sum = [...byQuery.values()].reduce((total, value) => total + value, 0);
  return { mean: sum / byQuery.size, byQuery };
}

function discountedGain(grades: readonly number[], gain: Gain): number {
  return grades.reduce((sum, grade, index) => sum + worth(grade, gain) / Math.log2(index + 2), 0);
}

function worth(grade: number, gain: Gain): number {
  if (grade <= 0) return 0;
  return gain === "linear" ? grade : 2 ** grade - 1;
}
