import { expect, test } from "vitest";
import { Pace } from "./pace.ts";

test("before the first batch nothing is slow and pairs have a usual length", () => {
  const pace = new Pace(25);
  expect([pace.batchMs, pace.length, pace.slowness]).toEqual([25, 128, 1]);
});

test("one batch tells how slow the device is, and later ones how slow it has become", () => {
  const pace = new Pace(25);
  pace.observe({ length: 38, ms: 27, expectedMs: 3 });
  expect(pace.length).toBe(38);
  expect(pace.slowness).toBeCloseTo(9);
  for (let i = 0; i < 50; i++) pace.observe({ length: 20, ms: 10, expectedMs: 10 });
  expect(pace.slowness).toBeLessThan(1.1);
  expect(pace.length).toBe(20);
  expect(pace.batchMs).toBeCloseTo(10, 0);
});

test("a short pass that was late weighs no more than it lasted", () => {
  const pace = new Pace(25);
  for (let i = 0; i < 50; i++) pace.observe({ length: 128, ms: 20, expectedMs: 20 });
  pace.observe({ length: 8, ms: 3, expectedMs: 0.5 });
  expect(pace.slowness).toBeLessThan(1.02);
});
