import { expect, test } from "vitest";
import { flopsPerPair } from "./flops.ts";

const miniLmL6 = { layers: 6, hidden: 384, heads: 12, intermediate: 1536 };
const xlmRLarge = { layers: 24, hidden: 1024, heads: 16, intermediate: 4096 };

test("a short pair costs twice the layers' weights for each token", () => {
  // Weights of the layers' matrices: 10.6 M of MiniLM-L6's 22.7 M parameters, 302 M of XLM-R large's 560 M.
  expect(flopsPerPair(miniLmL6, 1) / 2).toBeCloseTo(10_616_832 + 6 * 2 * 384, 0);
  expect(flopsPerPair(xlmRLarge, 1) / 2).toBeCloseTo(301_989_888 + 24 * 2 * 1024, 0);
});

test("attention grows with the square of the length, the rest with the length", () => {
  const linear = 2 * 10_616_832 * 512;
  const twoProducts = 6 * 2 * (2 * 512 * 512 * 384);
  expect(flopsPerPair(miniLmL6, 512)).toBe(linear + twoProducts);
});
