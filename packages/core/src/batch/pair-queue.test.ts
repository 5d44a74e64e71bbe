import * as fc from "fast-check";
import { expect, test } from "vitest";
import { PairQueue, type WaitingPair } from "./pair-queue.ts";

interface TestPair extends WaitingPair {
  readonly order: number;
}

const pairs = fc
  .array(
    fc.record({ tokens: fc.integer({ min: 1, max: 512 }), lane: fc.integer({ min: 0, max: 2 }) }),
    { maxLength: 200 },
  )
  .map((list) =>
    list.map((pair, order): TestPair => ({ ...pair, order, isAbandoned: () => false })),
  );
const budgets = fc.integer({ min: 16, max: 4096 });

function drain(queue: PairQueue<TestPair>, budget: number, maxPadding?: number): TestPair[][] {
  const batches: TestPair[][] = [];
  while (queue.size > 0) batches.push(queue.take(budget, maxPadding));
  return batches;
}

function filled(list: readonly TestPair[]): PairQueue<TestPair> {
  const queue = new PairQueue<TestPair>();
  for (const pair of list) queue.add(pair);
  return queue;
}

const longest = (batch: readonly TestPair[]): number =>
  Math.max(...batch.map((pair) => pair.tokens));

test("every pair is in exactly one batch", () => {
  fc.assert(
    fc.property(pairs, budgets, (list, budget) => {
      const orders = drain(filled(list), budget)
        .flat()
        .map((pair) => pair.order);
      expect(orders.toSorted((a, b) => a - b)).toEqual(list.map((_, order) => order));
    }),
  );
});

test("a batch keeps the budget, padding included, unless it is one pair", () => {
  fc.assert(
    fc.property(pairs, budgets, (list, budget) => {
      for (const batch of drain(filled(list), budget)) {
        if (batch.length > 1) expect(longest(batch) * batch.length).toBeLessThanOrEqual(budget);
      }
    }),
  );
});

test("at most the allowed share of a batch is padding", () => {
  const shares = fc.double({ min: 0, max: 0.5, noNaN: true });
  fc.assert(
    fc.property(pairs, budgets, shares, (list, budget, maxPadding) => {
      for (const batch of drain(filled(list), budget, maxPadding)) {
        const real = batch.reduce((sum, pair) => sum + pair.tokens, 0);
        expect(1 - real / (longest(batch) * batch.length)).toBeLessThanOrEqual(maxPadding + 1e-9);
      }
    }),
  );
});

test("the oldest pair of the most urgent lane is in the next batch", () => {
  fc.assert(
    fc.property(pairs, budgets, (list, budget) => {
      const queue = filled(list);
      const waiting = new Set(list);
      while (queue.size > 0) {
        const [first] = [...waiting].sort((a, b) => a.lane - b.lane || a.order - b.order);
        const batch = queue.take(budget);
        expect(batch).toContain(first);
        for (const pair of batch) waiting.delete(pair);
      }
    }),
  );
});

test("pairs that nobody wants any more are dropped, and no longer counted", () => {
  const queue = new PairQueue<TestPair>();
  let isAbandoned = false;
  queue.add({ tokens: 10, lane: 1, order: 0, isAbandoned: () => isAbandoned });
  queue.add({ tokens: 10, lane: 1, order: 1, isAbandoned: () => false });
  queue.add({ tokens: 99, lane: 1, order: 2, isAbandoned: () => isAbandoned });
  isAbandoned = true;
  expect(queue.take(1000).map((pair) => pair.order)).toEqual([1]);
  expect([queue.size, queue.tokens]).toEqual([0, 0]);
  expect(queue.take(1000)).toEqual([]);
});

test("lengths that fit together go together, whatever their order of arrival", () => {
  const tokens = [100, 10, 101, 11, 99, 10];
  const queue = filled(
    tokens.map((length, order) => ({ tokens: length, lane: 1, order, isAbandoned: () => false })),
  );
  const batches = drain(queue, 2048, 0.1).map((batch) => batch.map((pair) => pair.tokens));
  expect(batches).toEqual([
    [99, 100, 101],
    [10, 10, 11],
  ]);
});
