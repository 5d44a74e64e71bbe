import { expect, test } from "vitest";
import { DenseIndex } from "./dense.ts";
import { reciprocalRankFusion } from "./reciprocal-rank-fusion.ts";

const ranking = (...ids: string[]) => ids.map((id, index) => ({ id, score: -index }));

test("fusion adds 1 / (60 + rank), whatever the scores' scales are", () => {
  const fused = reciprocalRankFusion([ranking("a", "b", "c"), ranking("c", "b")], 10);
  expect(fused.map(({ id }) => id)).toEqual(["c", "b", "a"]);
  expect(fused[0]!.score).toBeCloseTo(1 / 63 + 1 / 61, 12);
  expect(reciprocalRankFusion([ranking("a", "b")], 1)).toHaveLength(1);
});

test("dense search ranks by cosine", () => {
  const unit = (...v: number[]): Float32Array =>
    Float32Array.from(v.map((x) => x / Math.hypot(...v)));
  const index = new DenseIndex([
    { id: "east", vector: unit(1, 0) },
    { id: "north", vector: unit(0, 1) },
    { id: "northeast", vector: unit(1, 1) },
  ]);
  expect(index.search(unit(1, 0.2), 2).map(({ id }) => id)).toEqual(["east", "northeast"]);
});
