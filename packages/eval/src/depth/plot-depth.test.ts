import { expect, test } from "vitest";
import { type DepthAdvice, depthGrid } from "./advise-depth.ts";
import { plotDepth } from "./plot-depth.ts";

/** Quality between 0.6 and 0.7 at every depth; recall as given. */
const advice = (
  best: number,
  cheapest: number,
  recall = 0.65,
  depths = [5, 10, 20, 50],
): DepthAdvice => ({
  measure: "ndcg@10",
  recallMeasure: "recall@10",
  points: depths.map((depth) => ({
    depth,
    value: 0.65,
    interval: [0.6, 0.7],
    recall,
    pairs: depth,
  })),
  best,
  cheapest,
});

const PLOT = { width: 720, top: 36, bottom: 360 - 48 };

/** A digit or letter of 12 px is no wider than this. */
const CHARACTER_WIDTH = 8;

test.each([
  [5, 5],
  [10, 5],
  [50, 5],
  [50, 20],
  [50, 50],
])("best %i and cheapest %i: no label is cut at an edge", (best, cheapest) => {
  const labels = [
    ...plotDepth(advice(best, cheapest)).matchAll(/<text x="([\d.]+)"([^>]*)>([^<]+)<\/text>/gu),
  ];
  expect(labels.some(([, , , text]) => text === `cheapest: ${cheapest}`)).toBe(true);
  for (const [, at, attributes, text] of labels) {
    const width = text!.length * CHARACTER_WIDTH;
    const [, anchor = "start"] = /text-anchor="(\w+)"/u.exec(attributes!) ?? [];
    const left = Number(at) - { start: 0, middle: width / 2, end: width }[anchor]!;
    expect([text, left >= 0, left + width <= PLOT.width]).toEqual([text, true, true]);
  }
});

test.each([
  { depths: [5, 10, 50, 51], named: ["5", "10", "51"] },
  { depths: [1], named: ["1"] },
  { depths: depthGrid(1000), named: depthGrid(1000).map(String) },
])("depths too near each other to be named beside the deepest have no label: $depths", (grid) => {
  const plot = plotDepth(advice(grid.depths[0]!, grid.depths[0]!, 0.65, grid.depths));
  const labels = [...plot.matchAll(/text-anchor="middle">(\d+)<\/text>/gu)];
  expect(labels.map(([, text]) => text)).toEqual(grid.named);
});

test.each([0.1, 0.3, 0.65, 1])("recall of %f is inside the plot", (recall) => {
  const heights = [
    ...plotDepth(advice(50, 50, recall)).matchAll(/cy="([-\d.]+)" r="3" fill="#d97706"/gu),
  ].map(([, y]) => Number(y));
  expect(heights).toHaveLength(4);
  for (const y of heights) {
    expect(y).toBeGreaterThanOrEqual(PLOT.top);
    expect(y).toBeLessThanOrEqual(PLOT.bottom);
  }
});
