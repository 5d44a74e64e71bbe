import type { Judgments } from "../qrels.ts";
import type { Measure } from "./measures.ts";
import type { ScoredDocument } from "./trec-order.ts";

/** Rankings by query id. */
export type Run = ReadonlyMap<string, readonly ScoredDocument[]>;

export interface Evaluation {
  readonly mean: number;
  /** By query id, in the order of the judgments. */
  readonly byQuery: ReadonlyMap<string, number>;
}

/**
 * Each measure of a run, by name. Over all queries that have a relevant document; one that the run
 * misses counts as 0, like trec_eval with `-c`.
 */
export function evaluateRun(
  run: Run,
  judgments: Judgments,
  measures: readonly Measure[],
): Map<string, Evaluation> {
  const answerable = [...judgments].filter(([, grades]) =>
    [...grades.values()].some((grade) => grade > 0),
  );
  return new Map(
    measures.map((measure) => {
      const byQuery = new Map(
        answerable.map(([query, grades]) => [query, measure.value(run.get(query) ?? [], grades)]),
      );
      const sum = [...byQuery.values()].reduce((total, value) => total + value, 0);
      return [measure.name, { mean: sum / byQuery.size, byQuery }];
    }),
  );
}
