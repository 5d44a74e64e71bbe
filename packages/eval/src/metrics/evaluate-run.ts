import type { Judgments } from "../qrels.ts";
import type { Measure } from "./measures.ts";
import { type ScoredDocument, trecOrder } from "./trec-order.ts";

/** Rankings by query id. */
export type Run = ReadonlyMap<string, readonly ScoredDocument[]>;

export interface Evaluation {
  readonly mean: number;
  /** By query id, in the order of the judgments. */
  readonly byQuery: ReadonlyMap<string, number>;
}

/**
 * Each measure of a run, by name. Over all queries that have a relevant document; one that the run
 * misses counts as 0. Rankings are judged in {@link trecOrder}.
 */
export function evaluateRun(
  run: Run,
  judgments: Judgments,
  measures: readonly Measure[],
): Map<string, Evaluation> {
  const answerable = [...judgments].filter(([, grades]) =>
    [...grades.values()].some((grade) => grade > 0),
  );
  const values = measures.map(() => new Map<string, number>());
  for (const [query, grades] of answerable) {
    const ordered = trecOrder(run.get(query) ?? []);
    for (const [i, measure] of measures.entries()) {
      values[i]!.set(query, measure.value(ordered, grades));
    }
  }
  return new Map(
    measures.map(({ name }, i) => {
      const byQuery = values[i]!;
      const sum = [...byQuery.values()].reduce((total, value) => total + value, 0);
      return [name, { mean: sum / byQuery.size, byQuery }];
    }),
  );
}
