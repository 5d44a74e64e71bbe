import { expect, test } from "vitest";
import type { Evaluation } from "../metrics/evaluate-run.ts";
import { bootstrapInterval, compareRuns } from "./compare-runs.ts";

const evaluation = (values: readonly number[]): Evaluation => ({
  mean: values.reduce((a, b) => a + b, 0) / values.length,
  byQuery: new Map(values.map((value, i) => [`q${i}`, value])),
});

/** Deterministic, roughly normal noise. */
const noise = (i: number): number => (Math.sin(i * 12.9898) + Math.sin(i * 78.233)) / 4;

test("equal runs differ by nothing, and chance explains it", () => {
  const run = evaluation([0.1, 0.5, 0.9]);
  expect(compareRuns(run, run)).toEqual({
    difference: 0,
    interval: [0, 0],
    pValue: 1,
    wins: 0,
    losses: 0,
    ties: 3,
  });
});

test("a small set's p-value is the exact one: all eight signs of three equal wins", () => {
  const { pValue, difference } = compareRuns(evaluation([0, 0, 0]), evaluation([1, 1, 1]));
  expect(difference).toBe(1);
  expect(pValue).toBeCloseTo(2 / 8, 1);
});

test("the interval is as wide as the normal approximation says: 95 %, and not 90 %", () => {
  const values = Array.from({ length: 400 }, (_, i) => noise(i));
  const mean = values.reduce((a, b) => a + b, 0) / 400;
  const deviation = Math.sqrt(values.reduce((sum, v) => sum + (v - mean) ** 2, 0) / 400);
  const standardErrors = bootstrapInterval(values).map((end) => (end - mean) / (deviation / 20));
  // 90 % would be ±1.645. Ten thousand samples place an end to about 0.03.
  expect(Math.abs(standardErrors[0]! + 1.96)).toBeLessThan(0.1);
  expect(Math.abs(standardErrors[1]! - 1.96)).toBeLessThan(0.1);
});

test("a real difference is told from noise, and the same seed gives the same figures", () => {
  const first = evaluation(Array.from({ length: 200 }, (_, i) => 0.5 + noise(i)));
  const second = evaluation(Array.from({ length: 200 }, (_, i) => 0.6 + noise(i + 7)));
  const comparison = compareRuns(first, second);
  expect(comparison.interval[0]).toBeGreaterThan(0);
  expect(comparison.pValue).toBeLessThan(0.01);
  expect(compareRuns(first, second)).toEqual(comparison);
});

test("runs over different queries are not compared", () => {
  expect(() => compareRuns(evaluation([1, 2]), evaluation([1]))).toThrow(RangeError);
});
