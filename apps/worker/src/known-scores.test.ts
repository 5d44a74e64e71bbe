import { expect, test } from "vitest";
import { hitRatio } from "./known-scores.ts";

test("the hit ratio is of what was asked for since the last reading, and stands while nothing is", () => {
  const cache = { counts: { asked: 0, found: 0 } };
  const read = hitRatio(cache);
  expect(read()).toBeUndefined();
  cache.counts = { asked: 40, found: 10 };
  expect(read()).toBe(0.25);
  expect(read()).toBe(0.25);
  cache.counts = { asked: 60, found: 30 };
  expect(read()).toBe(1);
  cache.counts = { asked: 80, found: 30 };
  expect(read()).toBe(0);
});
