import { describe, expect, test } from "vitest";
import { evaluateRun } from "./evaluate-run.ts";
import { parseMeasure } from "./measures.ts";

/**
 * Two queries of trec_eval's own test, and what it prints for them: usnistgov/trec_eval at 2a246ab,
 * `test/out.test.aqc` (of `trec_eval -m all_trec -q -c -M100 …`), to four digits. Where relevant documents
 * stand follows from its `relstring`, `iprec_at_recall` and `P` lines.
 */
const QUERIES = {
  "301": { retrieved: 10, relevant: 474, ranks: [6, 7] }, // Of 500 retrieved, the first ten.
  "303": { retrieved: 84, relevant: 10, ranks: [3, 4, 5, 7, 13, 18] },
  "302": { retrieved: 0, relevant: 77, ranks: [] }, // Not in that run, but judged.
} as const;

const PRINTED: Readonly<Record<string, Readonly<Record<string, number>>>> = {
  "301": {
    "ndcg@5": 0,
    "ndcg@10": 0.1518,
    "mrr@10": 0.1667,
    "p@5": 0,
    "p@10": 0.2,
    "recall@10": 0.0042,
  },
  "303": {
    "ndcg@5": 0.4469,
    "ndcg@10": 0.3633,
    "ndcg@15": 0.4211,
    "ndcg@20": 0.473,
    "ndcg@1000": 0.473,
    "mrr@10": 0.3333,
    map: 0.2723,
    "p@5": 0.6,
    "p@10": 0.4,
    "p@15": 0.3333,
    "p@100": 0.06,
    "p@1000": 0.006,
    "recall@5": 0.3,
    "recall@15": 0.5,
    "recall@1000": 0.6,
  },
  all: { "ndcg@5": 0.149, "ndcg@10": 0.1717, "mrr@10": 0.1667, "p@10": 0.2, "recall@10": 0.1347 },
};

const run = new Map(
  Object.entries(QUERIES).flatMap(([query, { retrieved }]) =>
    retrieved === 0
      ? []
      : [[query, Array.from({ length: retrieved }, (_, i) => ({ id: `at${i + 1}`, score: -i }))]],
  ),
);
const judgments = new Map(
  Object.entries(QUERIES).map(([query, { relevant, ranks }]) => [
    query,
    new Map([
      ...ranks.map((rank) => [`at${rank}`, 1] as const),
      ...Array.from({ length: relevant - ranks.length }, (_, i) => [`missed${i}`, 1] as const),
    ]),
  ]),
);

describe.each(Object.entries(PRINTED))("trec_eval's own example, query %s", (query, printed) => {
  test.each(Object.entries(printed))("%s is %d", (name, value) => {
    const { mean, byQuery } = evaluateRun(run, judgments, [parseMeasure(name)]).get(name)!;
    expect(query === "all" ? mean : byQuery.get(query)).toBeCloseTo(value, 4);
  });
});
