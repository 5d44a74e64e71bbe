import { expect, test } from "vitest";
import { evaluateRun } from "../metrics/evaluate-run.ts";
import { parseMeasure } from "../metrics/measures.ts";
import { adviseDepth, type Candidates, depthGrid, rerankedTo } from "./advise-depth.ts";
import { describeAdvice } from "./describe-advice.ts";
import { plotDepth } from "./plot-depth.ts";

/**
 * 60 queries with 100 candidates; the relevant one stands at rank 15 of the first stage. The reranker
 * sees it, but likes all from rank 40 on still better.
 */
const candidates: Candidates = new Map(
  Array.from({ length: 60 }, (_query, q) => [
    `q${q}`,
    Array.from({ length: 100 }, (_, i) => ({
      id: `d${i}`,
      firstStage: -i,
      score: i === 14 ? 10 : i >= 40 ? 20 : 0 - i / 100,
    })),
  ]),
);
const judgments = new Map([...candidates.keys()].map((q) => [q, new Map([["d14", 1]])]));

test("one pass gives every depth: best where the answer is in, worse where decoys come in", async () => {
  const advice = await adviseDepth(candidates, judgments, { pairsPerSecond: 100 });
  const values = new Map(advice.points.map((point) => [point.depth, point]));
  expect(advice.points.map(({ depth }) => depth)).toEqual([5, 10, 20, 30, 50, 75, 100]);
  expect(values.get(10)!.value).toBe(0);
  expect(values.get(20)!.value).toBe(1);
  expect(values.get(20)).toMatchObject({ pairs: 1200, seconds: 12, recall: 1 });
  expect(values.get(100)!.value).toBe(0);
  expect(advice).toMatchObject({ best: 20, cheapest: 20, recallFallsFrom: 50 });
});

test("where scores depend on their company, each depth is scored as a request of its own", async () => {
  // Of a request, the document in the middle of it is liked best.
  const advice = await adviseDepth(candidates, judgments, {
    scoresOf: (list) => list.map((_, i) => -Math.abs(i - Math.floor((list.length - 1) / 2))),
  });
  const best = advice.points.find(({ value }) => value === 1);
  expect([advice.best, best?.depth]).toEqual([30, 30]);
});

test("within noise the cheaper depth wins", async () => {
  const noisy: Candidates = new Map(
    [...candidates].map(([query, list], q) => [
      query,
      // Depth 50 helps one query of sixty; depth 20 is as good as that for all one can tell.
      list.slice(0, 50).map((candidate, i) => ({
        ...candidate,
        score: q === 0 ? (i === 45 ? 30 : 0) : i >= 40 ? -5 : candidate.score,
      })),
    ]),
  );
  const labels = new Map(
    [...judgments].map(([query, grades], q) => [query, q === 0 ? new Map([["d45", 1]]) : grades]),
  );
  expect(await adviseDepth(noisy, labels)).toMatchObject({ best: 50, cheapest: 20 });
});

test("what is not reranked, or could not be scored, stays below in the first stage's order", () => {
  const list = [
    { id: "a", firstStage: 9, score: -50 },
    { id: "b", firstStage: 8, score: undefined },
    { id: "c", firstStage: 7, score: 3 },
    { id: "d", firstStage: 6, score: 99 },
  ];
  const ranking = rerankedTo(new Map([["q", list]]), 3).get("q")!;
  expect(ranking.toSorted((x, y) => y.score - x.score).map(({ id }) => id)).toEqual([
    "c",
    "a",
    "b",
    "d",
  ]);
});

test("where no depth is better than the first stage, the advice is not to rerank", async () => {
  const harmful: Candidates = new Map(
    [...candidates].map(([query, list]) => [
      query,
      list.map((each, i) => ({ ...each, score: i, firstStage: -i })),
    ]),
  );
  const first = new Map([...harmful.keys()].map((q) => [q, new Map([["d0", 1]])]));
  const advice = await adviseDepth(harmful, first);
  expect(advice.withoutReranking).toBe(1);
  expect(describeAdvice(advice)).toMatch(/^Reranking does not help here/u);
  expect(describeAdvice(await adviseDepth(candidates, judgments))).toMatch(/^Best depth/u);
});

test("what a cascade does not keep is not in its result", async () => {
  // Ten relevant documents, all in front already: whoever keeps five has lost five.
  const ten = new Map([...candidates.keys()].map((q) => [q, new Map(tenOf())]));
  const options = { measure: "recall@10", depths: [5, 10] };
  const behind = await adviseDepth(candidates, ten, options);
  const dropped = await adviseDepth(candidates, ten, { ...options, dropsRest: true });
  expect(behind.points.map(({ value }) => value)).toEqual([1, 1]);
  expect(dropped.points.map(({ value }) => value)).toEqual([0.5, 1]);
  expect(dropped.cheapest).toBe(10);
});

const tenOf = (): [string, number][] => Array.from({ length: 10 }, (_, i) => [`d${i}`, 1]);

test("a shallow depth is judged with what stays behind it, and its ends are the two runs", async () => {
  const advice = await adviseDepth(candidates, judgments, { depths: [5] });
  const [reranked, before] = [rerankedTo(candidates, 5), rerankedTo(candidates, 0)].map(
    (run) => evaluateRun(run, judgments, [parseMeasure("ndcg@10")]).get("ndcg@10")!.mean,
  );
  expect(advice.points[0]!.value).toBe(reranked);
  expect(advice.withoutReranking).toBe(before);
});

test("the grid ends at the deepest list", () => {
  expect(depthGrid(50)).toEqual([5, 10, 20, 30, 50]);
  expect(depthGrid(1000).at(-1)).toBe(1000);
  expect(depthGrid(3)).toEqual([3]);
});

test("the plot has a point for each depth and marks the advice", async () => {
  const svg = plotDepth(await adviseDepth(candidates, judgments));
  expect(svg.match(/<polyline points="([^"]+)"/u)![1]!.split(" ")).toHaveLength(7);
  expect(svg).toContain("cheapest: 20");
  expect(svg).not.toContain("NaN");
});
