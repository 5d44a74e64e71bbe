import { availableParallelism } from "node:os";
import { expect, test } from "vitest";
import { quotaOf, usableCores } from "./usable-cores.ts";

test("a container's quota bounds the cores, and nothing else does", () => {
  expect(quotaOf("200000 100000\n")).toBe(2);
  expect(quotaOf("50000 100000\n")).toBe(1);
  expect(quotaOf("150000 100000\n")).toBe(2);
  expect(quotaOf("max 100000\n")).toBe(Infinity);
  expect(usableCores()).toBeGreaterThan(0);
  expect(usableCores()).toBeLessThanOrEqual(availableParallelism());
});
