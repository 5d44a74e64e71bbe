import * as fc from "fast-check";
import { expect, test } from "vitest";
import {
  infinityPolicy,
  realOverPadded,
  siePairsPolicy,
  siePolicy,
  sortedPolicy,
  teiPolicy,
  type PolicyPair,
} from "./policies.ts";

const pairs: fc.Arbitrary<PolicyPair[]> = fc
  .array(
    fc
      .integer({ min: 8, max: 512 })
      .chain((tokens) =>
        fc
          .integer({ min: 2 * tokens, max: 6 * tokens })
          .map((characters) => ({ tokens, characters, request: 0 })),
      ),
    { maxLength: 600 },
  )
  .map((list) => list.map((pair, index) => ({ ...pair, request: Math.floor(index / 4) })));
const sum = (values: readonly number[]): number => values.reduce((a, b) => a + b, 0);

test.each([
  ["sorted", sortedPolicy(2048)],
  ["TEI", teiPolicy],
  ["infinity", infinityPolicy],
  ["SIE", siePolicy],
  ["SIE by pairs", siePairsPolicy],
])("%s puts every pair in exactly one batch", (_, policy) => {
  fc.assert(
    fc.property(pairs, (list) => {
      const order = policy(list).flat();
      expect(order.toSorted((a, b) => a - b)).toEqual(list.map((_pair, index) => index));
    }),
    { numRuns: 50 },
  );
});

test("each keeps its caps", () => {
  fc.assert(
    fc.property(pairs, (list) => {
      const tokens = (batch: readonly number[]): number =>
        batch.length * Math.max(...batch.map((index) => list[index]!.tokens));
      for (const batch of teiPolicy(list)) {
        expect(batch.length).toBeLessThanOrEqual(8);
        expect(tokens(batch)).toBeLessThanOrEqual(16_384);
      }
      for (const batch of infinityPolicy(list)) expect(batch.length).toBeLessThanOrEqual(32);
      for (const batch of siePolicy(list)) {
        const characters = sum(batch.map((index) => list[index]!.characters));
        const requests = new Set(batch.map((index) => list[index]!.request)).size;
        expect(requests === 1 || characters <= 16_384).toBe(true);
        expect(requests).toBeLessThanOrEqual(64);
      }
      for (const batch of sortedPolicy(2048)(list)) {
        expect(batch.length === 1 || tokens(batch) <= 2048).toBe(true);
      }
    }),
    { numRuns: 50 },
  );
});

test("padding is what the longest of a batch adds to the others", () => {
  const list = [10, 20, 30].map((tokens) => ({ tokens, characters: 1, request: 0 }));
  expect(realOverPadded(list, [[0, 1, 2]])).toBeCloseTo(60 / 90);
  expect(realOverPadded(list, [[0], [1], [2]])).toBe(1);
});
