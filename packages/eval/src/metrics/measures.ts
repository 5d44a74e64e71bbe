import { type Grades, ndcg } from "./ndcg.ts";
import { type ScoredDocument, trecOrder } from "./trec-order.ts";

/** A figure of merit for one query's ranking, e.g. `ndcg@10`. */
export interface Measure {
  readonly name: string;
  /** 0 (worst) to 1. `grades` must have a relevant document. */
  value(ranking: readonly ScoredDocument[], grades: Grades): number;
}

/** What `parseMeasure` reads, with what each means. A grade of 1 or more is relevant, as in trec_eval. */
export const MEASURES: Readonly<Record<string, string>> = {
  "ndcg@k": "trec_eval's ndcg_cut.k: linear gain, discount log2(rank + 1)",
  "mrr@k":
    "1 / rank of the first relevant document among the first k, else 0 (recip_rank, cut at k)",
  map: "trec_eval's map: mean, over the relevant documents, of the precision at each one's rank",
  "recall@k": "trec_eval's recall.k: relevant among the first k, of all relevant",
  "p@k": "trec_eval's P.k: relevant among the first k, divided by k also if fewer were retrieved",
};

/**
 * Reads a measure's name: `ndcg@10`, `mrr@10`, `map`, `recall@100`, `p@5`. All of them rank by
 * {@link trecOrder}.
 *
 * @throws RangeError naming the ones there are.
 */
export function parseMeasure(name: string): Measure {
  const [, kind, cut] = /^([a-z]+)(?:@([1-9]\d*))?$/u.exec(name) ?? [];
  const formula = FORMULAS[kind ?? ""];
  if (formula === undefined || (cut === undefined) !== (kind === "map")) {
    throw new RangeError(`"${name}" is not a measure: ${Object.keys(MEASURES).join(", ")}`);
  }
  const k = cut === undefined ? Infinity : Number(cut);
  return { name, value: (ranking, grades) => formula(ranking, grades, k) };
}

type Formula = (ranking: readonly ScoredDocument[], grades: Grades, k: number) => number;

const FORMULAS: Readonly<Record<string, Formula>> = {
  ndcg: (ranking, grades, k) => ndcg(ranking, grades, { k }),
  mrr: (ranking, grades, k) => 1 / (ranksOfRelevant(ranking, grades, k)[0] ?? Infinity),
  map: (ranking, grades, k) =>
    ranksOfRelevant(ranking, grades, k).reduce((sum, rank, i) => sum + (i + 1) / rank, 0) /
    relevant(grades),
  recall: (ranking, grades, k) => ranksOfRelevant(ranking, grades, k).length / relevant(grades),
  p: (ranking, grades, k) => ranksOfRelevant(ranking, grades, k).length / k,
};

/** From 1, ascending, none beyond k. */
function ranksOfRelevant(ranking: readonly ScoredDocument[], grades: Grades, k: number): number[] {
  return trecOrder(ranking)
    .slice(0, k)
    .flatMap(({ id }, index) => ((grades.get(id) ?? 0) > 0 ? [index + 1] : []));
}

function relevant(grades: Grades): number {
  return [...grades.values()].filter((grade) => grade > 0).length;
}
