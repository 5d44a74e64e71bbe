import * as fc from "fast-check";
import { expect, test } from "vitest";
import {
  CostModel,
  kneeTokens,
  predictMs,
  squaresBeforeFall,
  type Cost,
  type CostSample,
} from "./cost.ts";

const grid = [1, 2, 4, 8, 16].flatMap((rows) =>
  [16, 64, 128, 512].map((length) => ({ rows, length })),
);

function timed(cost: Cost, noise: (i: number) => number = () => 1): CostSample[] {
  return grid.map(({ rows, length }, i) => ({
    rows,
    length,
    ms: predictMs(cost, rows, length) * noise(i),
  }));
}

test("a device's cost is found from a grid of timed passes", () => {
  const coefficient = fc.oneof(fc.constant(0), fc.double({ min: 1e-3, max: 1, noNaN: true }));
  fc.assert(
    fc.property(coefficient, coefficient, coefficient, (fixed, perToken, perSquare) => {
      const cost = { fixed, perToken, perSquare: perSquare / 100 };
      if (fixed + perToken + perSquare === 0) return;
      const fitted = new CostModel(timed(cost)).cost;
      for (const { rows, length } of grid) {
        const [want, got] = [predictMs(cost, rows, length), predictMs(fitted, rows, length)];
        expect(Math.abs(got / want - 1)).toBeLessThan(1e-3);
      }
    }),
  );
});

test("noise bends the fit a little, and no coefficient below 0", () => {
  const cost = { fixed: 0.2, perToken: 0.01, perSquare: 0 };
  const noisy = timed(cost, (i) => 1 + 0.2 * Math.sin(7 * i));
  const fitted = new CostModel(noisy).cost;
  expect(Math.min(...Object.values(fitted))).toBeGreaterThanOrEqual(0);
  expect(predictMs(fitted, 8, 128) / predictMs(cost, 8, 128)).toBeCloseTo(1, 0.7);
});

test("a device that became slower is believed after some hundred batches", () => {
  const cost = { fixed: 1, perToken: 0.01, perSquare: 1e-5 };
  const model = new CostModel(timed(cost), 200);
  for (let round = 0; round < 100; round++) {
    for (const { rows, length } of grid) {
      model.observe({ rows, length, ms: 2 * predictMs(cost, rows, length) });
    }
  }
  expect(predictMs(model.cost, 8, 128) / predictMs(cost, 8, 128)).toBeGreaterThan(1.98);
});

test("a device that became ten times slower is believed too", () => {
  const cost = { fixed: 1, perToken: 0.01, perSquare: 1e-5 };
  const model = new CostModel(timed(cost), 200);
  for (let round = 0; round < 100; round++) {
    for (const { rows, length } of grid) {
      model.observe({ rows, length, ms: 10 * predictMs(cost, rows, length) });
    }
  }
  expect(predictMs(model.cost, 8, 128) / predictMs(cost, 8, 128)).toBeGreaterThan(9.5);
});

test("a pass that took no time at all, or an age, changes little", () => {
  const cost = { fixed: 0.2, perToken: 0.005, perSquare: 0 };
  const model = new CostModel(timed(cost));
  for (let i = 0; i < 640; i++) {
    const ms = i % 40 === 0 ? 0.01 : i % 40 === 20 ? 2_000 : predictMs(cost, 11, 90);
    model.observe({ rows: 11, length: 90, ms });
  }
  const ratio = predictMs(model.cost, 11, 90) / predictMs(cost, 11, 90);
  expect(Math.abs(ratio - 1)).toBeLessThan(0.3);
});

test("the knee is where a larger batch gains next to nothing", () => {
  const launchBound = timed({ fixed: 4, perToken: 0.001, perSquare: 0 });
  expect(kneeTokens(launchBound)).toBeGreaterThanOrEqual(16 * 64);
  expect(kneeTokens(timed({ fixed: 0, perToken: 0.01, perSquare: 0 }))).toBeLessThanOrEqual(128);
});

test("a device that falls off for large batches is not driven there", () => {
  // MiniLM-L6 in fp16 through WebGPU on an H200, 2026-11-26.
  const lengths = {
    130: [5.1, 4.4, 6.0, 14.3],
    258: [5.1, 5.2, 10.3, 29.6],
    506: [4.9, 7.7, 21.3, 428],
  };
  const samples = Object.entries(lengths).flatMap(([length, times]) =>
    times.map((ms, i) => ({ rows: 4 ** i, length: Number(length), ms })),
  );
  expect(squaresBeforeFall(samples)).toBe(64 * 258 * 258);
  expect(squaresBeforeFall(samples.filter(({ ms }) => ms < 400))).toBe(Infinity);
});

test("noise is no fall", () => {
  const noisy = timed(
    { fixed: 1, perToken: 0.01, perSquare: 1e-6 },
    (i) => 1 + 0.3 * Math.sin(7 * i),
  );
  expect(squaresBeforeFall(noisy)).toBe(Infinity);
});
