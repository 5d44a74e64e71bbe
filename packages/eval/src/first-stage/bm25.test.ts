import { describe, expect, test } from "vitest";
import { Bm25Index, type Bm25Options } from "./bm25.ts";

const split: Bm25Options = { analyze: (text) => text.split(" ").filter((term) => term !== "") };
const index = (texts: readonly string[], options: Bm25Options = split): Bm25Index =>
  new Bm25Index(
    texts.map((text, position) => ({ id: `d${position}`, text })),
    options,
  );

describe("scores", () => {
  // By hand from BM25Similarity.java (apache/lucene at 0087b0f) for lengths 2, 3, 5; average 10/3:
  //   idf(b) = ln(1 + 1.5/2.5) = 0.470004, the same for c; idf(d) = ln(1 + 2.5/1.5) = 0.980829
  //   b in d0: 1 / (1 + 0.9 · (0.6 + 0.4 · 2 / 3.3333)) = 1 / 1.756 = 0.569476
  //   b in d1: 2 / (2 + 0.9 · (0.6 + 0.4 · 3 / 3.3333)) = 2 / 2.864 = 0.698324
  const texts = ["a b", "b b c", "c d d d d"];
  test.each([
    ["b", { d1: 0.328215, d0: 0.267656 }],
    ["c", { d1: 0.252148, d2: 0.225963 }],
    ["b c", { d1: 0.580363, d0: 0.267656, d2: 0.225963 }],
    ["b b d", { d2: 0.772306, d1: 0.65643, d0: 0.535312 }],
    ["x", {}],
    ["", {}],
  ])("of %j are Lucene's", (query, expected) => {
    const hits = index(texts).search(query, 10);
    expect(hits.map(({ id }) => id)).toEqual(Object.keys(expected));
    for (const [position, score] of Object.values(expected).entries()) {
      expect(hits[position]?.score).toBeCloseTo(score, 5);
    }
  });

  test("documents without a term count neither for N nor for the average length", () => {
    const [hit] = index([...texts, "", " "]).search("b", 1);
    expect(hit?.score).toBeCloseTo(0.328215, 5);
  });

  test("k1 and b can be set", () => {
    const [hit] = index(texts, { ...split, k1: 1.2, b: 0.75 }).search("b", 1);
    expect(hit?.score).toBeCloseTo((0.470004 * 2) / (2 + 1.2 * (0.25 + 0.75 * 0.9)), 5);
  });
});

test("the best topK come in order with their ranks; ties as trec_eval breaks them, also at the cut", () => {
  const hits = index(["x", "a", "a a", "a", "a"]).search("a", 3);
  expect(hits.map(({ id, rank }) => [id, rank])).toEqual([
    ["d2", 1],
    ["d4", 2],
    ["d3", 3],
  ]);
});

test("title and text are searched together, and analysed as English by default", () => {
  const english = new Bm25Index([
    { id: "1", title: "Heated wings", text: "" },
    { id: "2", text: "The heating of a wing" },
    { id: "3", text: "Nothing" },
  ]);
  expect(english.search("wing heat", 5).map(({ id }) => id)).toEqual(["2", "1"]);
});

test("built in turns it is the same, and can be broken off", async () => {
  const documents = Array.from({ length: 2_500 }, (_, i) => ({ id: `${i}`, text: `a ${i % 7} b` }));
  const built = await Bm25Index.build(documents);
  expect(built.search("a 3", 50)).toEqual(new Bm25Index(documents).search("a 3", 50));
  const signal = AbortSignal.abort(new Error("enough"));
  await expect(Bm25Index.build(documents, { signal })).rejects.toThrow("enough");
});

test("an empty index finds nothing", () => {
  expect(index([]).search("a", 5)).toEqual([]);
});

test("a term named like a property of objects is a term", () => {
  expect(index(["constructor", "b"]).search("constructor __proto__", 5)).toHaveLength(1);
});
