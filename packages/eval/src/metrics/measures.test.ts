import { describe, expect, test } from "vitest";
import { evaluateRun } from "./evaluate-run.ts";
import { parseMeasure } from "./measures.ts";

const ranking = (...ids: string[]) => ids.map((id, index) => ({ id, score: -index }));
const grades = (entries: Record<string, number>) => new Map(Object.entries(entries));

/** Of the textbook's example (Manning, Raghavan & Schütze 2008, §8.4): relevant at ranks 1, 3 and 6, and one not found. */
const list = ranking("a", "x", "b", "y", "z", "c");
const judged = grades({ a: 1, b: 2, c: 1, missing: 3, x: 0 });

describe("measures of one query, by trec_eval's definitions", () => {
  test.each([
    ["map", (1 / 1 + 2 / 3 + 3 / 6) / 4],
    ["p@5", 2 / 5],
    ["p@10", 3 / 10],
    ["recall@5", 2 / 4],
    ["recall@100", 3 / 4],
    ["mrr@10", 1],
    ["ndcg@3", (1 + 2 / 2) / (3 + 2 / Math.log2(3) + 1 / 2)],
  ])("%s", (name, expected) => {
    expect(parseMeasure(name).value(list, judged)).toBeCloseTo(expected, 12);
  });

  test("a first relevant document below the cut counts as none", () => {
    const late = ranking("x", "y", "a");
    expect(parseMeasure("mrr@2").value(late, judged)).toBe(0);
    expect(parseMeasure("mrr@3").value(late, judged)).toBeCloseTo(1 / 3, 12);
  });

  test.each(["ndcg", "map@10", "p@0", "accuracy@5", "constructor@5", ""])(
    "%j is refused with what there is",
    (name) => {
      expect(() => parseMeasure(name)).toThrow(/ndcg@k.*recall@k/u);
    },
  );
});

test("a run's mean is over the queries that can be answered; a missing one counts as 0", () => {
  const judgments = new Map([
    ["found", grades({ a: 1 })],
    ["missing", grades({ a: 1 })],
    ["hopeless", grades({ a: 0 })],
  ]);
  const { mean, byQuery } = evaluateRun(new Map([["found", ranking("a")]]), judgments, [
    parseMeasure("p@1"),
  ]).get("p@1")!;
  expect([mean, [...byQuery]]).toEqual([
    0.5,
    [
      ["found", 1],
      ["missing", 0],
    ],
  ]);
});
