import { describe, expect, test } from "vitest";
import { meanNdcg, ndcg } from "./ndcg.ts";
import { trecOrder } from "./trec-order.ts";

const ranking = (...ids: string[]) => ids.map((id, index) => ({ id, score: -index }));
const grades = (entries: Record<string, number>) => new Map(Object.entries(entries));

describe("nDCG of a query", () => {
  // The worked example of en.wikipedia.org/wiki/Discounted_cumulative_gain: six documents are
  // retrieved, two more are judged; DCG 6.861, ideal DCG 8.740.
  const judged = grades({ D1: 3, D2: 2, D3: 3, D4: 0, D5: 1, D6: 2, D7: 3, D8: 2 });
  const retrieved = ranking("D1", "D2", "D3", "D4", "D5", "D6");

  test("equals the published example", () => {
    expect(ndcg(retrieved, judged, { k: 6 })).toBeCloseTo(0.785, 3);
  });

  test("with exponential gain, 2^grade - 1 takes the grade's place", () => {
    const discount = (rank: number): number => 1 / Math.log2(rank + 1);
    const found = 7 * discount(1) + 3 * discount(2) + 7 * discount(3);
    const best = 7 * (discount(1) + discount(2) + discount(3));
    expect(ndcg(retrieved, judged, { k: 3, gain: "exponential" })).toBeCloseTo(found / best, 12);
  });

  test("the first two ranks are discounted differently, unlike before trec_eval 9", () => {
    const one = grades({ a: 1 });
    expect(ndcg(ranking("a", "b"), one)).toBe(1);
    expect(ndcg(ranking("b", "a"), one)).toBeCloseTo(1 / Math.log2(3), 12);
  });

  test.each([
    ["nothing retrieved", [], { a: 1 }, 0],
    ["nothing relevant", ["a"], { a: 0, b: -1 }, 0],
    ["only unjudged documents", ["x", "y"], { a: 1 }, 0],
    ["relevant ones below k", ["x", "y", "a"], { a: 1 }, 0],
    ["a negative grade counts as none", ["b", "a"], { a: 1, b: -2 }, 1 / Math.log2(3)],
  ])("%s", (_case, ids, judgments, expected) => {
    expect(ndcg(ranking(...ids), grades(judgments), { k: 2 })).toBeCloseTo(expected, 12);
  });
});

describe("order", () => {
  test("scores decide, and ids downwards where they are equal", () => {
    const ranked = trecOrder([
      { id: "a", score: 1 },
      { id: "c", score: 1 },
      { id: "b", score: 2 },
      { id: "10", score: 1 },
      { id: "9", score: 1 },
    ]);
    expect(ranked.map(({ id }) => id)).toEqual(["b", "c", "a", "9", "10"]);
  });

  test("ids are compared by their bytes, where UTF-16 would differ", () => {
    const [first] = trecOrder([
      { id: "\uFF5E", score: 0 },
      { id: "\u{1F600}", score: 0 },
    ]);
    expect(first?.id).toBe("\u{1F600}");
  });

  test("a document ranked twice and a score of NaN are refused", () => {
    expect(() => trecOrder(ranking("a", "a"))).toThrow(RangeError);
    expect(() => trecOrder([{ id: "a", score: Number.NaN }])).toThrow(RangeError);
  });
});

test("the mean counts a missing query as 0 and leaves out those without a relevant document", () => {
  const judgments = new Map([
    ["answered", grades({ a: 1 })],
    ["missing", grades({ a: 1 })],
    ["unanswerable", grades({ a: 0 })],
  ]);
  const rankings = new Map([
    ["answered", ranking("a")],
    ["unanswerable", ranking("a")],
    ["not judged", ranking("a")],
  ]);
  const { mean, byQuery } = meanNdcg(rankings, judgments);
  expect([...byQuery]).toEqual([
    ["answered", 1],
    ["missing", 0],
  ]);
  expect(mean).toBe(0.5);
});
