import { type Grades, ndcgOfOrdered } from "./ndcg.ts";
import type { ScoredDocument } from "./trec-order.ts";

/** A figure of merit for one query's ranking, e.g. `ndcg@10`. */
export interface Measure {
  readonly name: string;
  /** 0 (worst) to 1, of a ranking in {@link trecOrder}. `grades` must have a relevant document. */
  value(ordered: readonly ScoredDocument[], grades: Grades): number;
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
 * Reads a measure's name: `ndcg@10`, `mrr@10`, `map`, `recall@100`, `p@5`.
 *
 * @throws RangeError naming the ones there are.
 */
export function parseMeasure(name: string): Measure {
  const [, kind, cut] = /^([a-z]+)(?:@([1-9]\d*))?$/u.exec(name) ?? [];
  const formula = Object.hasOwn(FORMULAS, kind ?? "") ? FORMULAS[kind!] : undefined;
  if (formula === undefined || (cut === undefined) !== (kind === "map")) {
    throw new RangeError(`"${name}" is not a measure: ${Object.keys(MEASURES).join(", ")}`);
  }
  const k = cut === undefined ? Infinity : Number(cut);
  return { name, value: (ordered, grades) => formula(ordered, grades, k) };
}

type Formula = (ordered: readonly ScoredDocument[], grades: Grades, k: number) => number;

const FORMULAS: Readonly<Record<string, Formula>> = {
  ndcg: (ordered, grades, k) => ndcgOfOrdered(ordered, grades, { k }),
  mrr: (ordered, grades, k) => 1 / (ranksOfRelevant(ordered, grades, k)[0] ?? Infinity),
  map: (ordered, grades, k) =>
    ranksOfRelevant(ordered, grades, k).reduce((sum, rank, i) => sum + (i + 1) / rank, 0) /
    relevant(grades),
  recall: (ordered, grades, k) => ranksOfRelevant(ordered, grades, k).length / relevant(grades),
  p: (ordered, grades, k) => ranksOfRelevant(ordered, grades, k).length / k,
};

/** From 1, ascending, none beyond k. */
function ranksOfRelevant(ordered: readonly ScoredDocument[], grades: Grades, k: number): number[] {
  const ranks: number[] = [];
  for (let rank = 1; rank <= Math.min(k, ordered.length); rank++) {
    if ((grades.get(ordered[rank - 1]!.id) ?? 0) > 0) ranks.push(rank);
  }
  return ranks;
}

function relevant(grades: Grades): number {
  return [...grades.values()].filter((grade) => grade > 0).length;
}
