import * as fc from "fast-check";
import { expect, test } from "vitest";
import {
  HORIZON_MS,
  LAST_URGENT_LANE,
  MAX_AGE,
  PairQueue,
  type TakeOptions,
  type WaitingPair,
} from "./pair-queue.ts";

interface TestPair extends WaitingPair {
  readonly order: number;
}

const NOW = 1_000_000;
const deadline = fc.option(fc.integer({ min: NOW - 100, max: NOW + 2 * HORIZON_MS }), {
  nil: undefined,
});
const pairs = fc
  .array(
    fc.record({
      tokens: fc.integer({ min: 1, max: 512 }),
      lane: fc.integer({ min: 0, max: 4 }),
      deadline,
    }),
    { maxLength: 200 },
  )
  .map((list) =>
    list.map((pair, order): TestPair => ({ ...pair, order, isAbandoned: () => false })),
  );
const coefficient = fc.double({ min: 0, max: 2, noNaN: true });
const options: fc.Arbitrary<TakeOptions> = fc.record({
  cost: fc.record({ fixed: coefficient, perToken: coefficient, perSquare: coefficient }),
  maxTokens: fc.integer({ min: 16, max: 4096 }),
  maxSquares: fc.option(fc.integer({ min: 256, max: 1_000_000 }), { nil: undefined }),
  maxPadding: fc.double({ min: 0, max: 0.5, noNaN: true }),
  now: fc.constant(NOW),
});
const usual: TakeOptions = {
  cost: { fixed: 1, perToken: 0.01, perSquare: 0 },
  maxTokens: 1024,
  maxPadding: 0.1,
  now: NOW,
};

function drain(queue: PairQueue<TestPair>, take: TakeOptions): TestPair[][] {
  const batches: TestPair[][] = [];
  while (queue.size > 0) batches.push(queue.take(take));
  return batches;
}

function filled(list: readonly TestPair[]): PairQueue<TestPair> {
  const queue = new PairQueue<TestPair>();
  for (const pair of list) queue.add(pair);
  return queue;
}

function pairsOf(tokens: readonly number[], lane = 1): TestPair[] {
  return tokens.map((length, order) => ({ tokens: length, lane, order, isAbandoned: () => false }));
}

const longest = (batch: readonly TestPair[]): number =>
  Math.max(...batch.map((pair) => pair.tokens));

test("every pair is in exactly one batch", () => {
  fc.assert(
    fc.property(pairs, options, (list, take) => {
      const orders = drain(filled(list), take)
        .flat()
        .map((pair) => pair.order);
      expect(orders.toSorted((a, b) => a - b)).toEqual(list.map((_, order) => order));
    }),
  );
});

test("a batch keeps the budget, padding included, unless it is one pair", () => {
  fc.assert(
    fc.property(pairs, options, (list, take) => {
      for (const batch of drain(filled(list), take)) {
        if (batch.length === 1) continue;
        const tokens = longest(batch) * batch.length;
        expect(tokens).toBeLessThanOrEqual(take.maxTokens);
        expect(tokens * longest(batch)).toBeLessThanOrEqual(take.maxSquares ?? Infinity);
      }
    }),
  );
});

test("at most the allowed share of a batch is padding", () => {
  fc.assert(
    fc.property(pairs, options, (list, take) => {
      for (const batch of drain(filled(list), take)) {
        const real = batch.reduce((sum, pair) => sum + pair.tokens, 0);
        expect(1 - real / (longest(batch) * batch.length)).toBeLessThanOrEqual(
          take.maxPadding + 1e-6,
        );
      }
    }),
  );
});

test("the most urgent lane is next, and nobody rides along with an urgent one", () => {
  fc.assert(
    fc.property(pairs, options, (list, take) => {
      const queue = filled(list);
      let batches = 0;
      while (queue.size > 0) {
        const first = queue.firstLane;
        const batch = queue.take(take);
        const isOthersTurn = ++batches % 8 === 0;
        if (isOthersTurn) continue;
        const lanes = new Set(batch.map((pair) => pair.lane));
        if (first <= LAST_URGENT_LANE) expect(lanes).toEqual(new Set([first]));
        else expect(lanes).toContain(first);
      }
    }),
  );
});

test("a pair waits a bounded number of batches, however unfit it is, while better ones keep coming", () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 512 }),
      fc.integer({ min: 0, max: 4 }),
      (tokens, lane) => {
        const queue = new PairQueue<TestPair>();
        const [odd] = pairsOf([tokens], lane);
        queue.add(odd!);
        // In its own lane it is due after MAX_AGE; a less urgent lane has its turn every 8 batches.
        const bound = MAX_AGE + 8;
        let batches = 0;
        // No further: a pair that starves should fail the test, and not hang it.
        for (; batches <= bound; batches++) {
          // A flood of the most urgent lane but the first, all of one convenient length.
          for (const pair of pairsOf(Array.from({ length: 8 }, () => 128))) queue.add(pair);
          if (queue.take(usual).includes(odd!)) break;
        }
        expect(batches).toBeLessThanOrEqual(bound);
      },
    ),
  );
});

test("pairs that nobody wants any more are dropped, and no longer counted", () => {
  const queue = new PairQueue<TestPair>();
  let isAbandoned = false;
  queue.add({ tokens: 10, lane: 1, order: 0, isAbandoned: () => isAbandoned });
  queue.add({ tokens: 10, lane: 1, order: 1, isAbandoned: () => false });
  queue.add({ tokens: 99, lane: 1, order: 2, isAbandoned: () => isAbandoned });
  isAbandoned = true;
  expect(queue.dropAbandoned().map((pair) => pair.order)).toEqual([0, 2]);
  expect(queue.take(usual).map((pair) => pair.order)).toEqual([1]);
  expect([queue.size, queue.tokens]).toEqual([0, 0]);
  expect(queue.take(usual)).toEqual([]);
});

/** The nearest deadline that is within the horizon. */
function nearest(waiting: readonly TestPair[]): number | undefined {
  const deadlines = waiting.flatMap((pair) => pair.deadline ?? []);
  const pressing = deadlines.filter((each) => each <= NOW + HORIZON_MS);
  return pressing.length === 0 ? undefined : Math.min(...pressing);
}

/** Many of them equally long. */
const inOneLane = pairs.map((list) =>
  list.map((pair) => ({ ...pair, lane: 3, tokens: 100 + (pair.tokens % 8) })),
);

test("whose deadline is nearest is in the next batch of its lane, or in the one after it", () => {
  fc.assert(
    // Pairs come while others are taken, and some are dropped.
    fc.property(inOneLane, options, fc.integer({ min: 1, max: 9 }), (list, take, arrivals) => {
      const queue = new PairQueue<TestPair>();
      const coming = list.map((pair) => ({ ...pair, isAbandoned: () => pair.order % 5 === 4 }));
      let waiting: TestPair[] = [];
      let missed = 0;
      for (let batches = 0; coming.length > 0 || queue.size > 0; batches++) {
        for (const pair of coming.splice(0, arrivals)) {
          queue.add(pair);
          waiting.push(pair);
        }
        if (batches % 7 === 6) {
          queue.dropAbandoned();
          waiting = waiting.filter((pair) => !pair.isAbandoned());
        }
        const batch = queue.take(take);
        const due = nearest(waiting);
        const isMissed = due !== undefined && batch.every((pair) => pair.deadline !== due);
        missed = isMissed ? missed + 1 : 0;
        // Until somebody is as old as that, nobody comes before them; then turn and turn about.
        expect(missed).toBeLessThanOrEqual(batches < MAX_AGE ? 0 : 1);
        const taken = new Set(batch.map((pair) => pair.order));
        waiting = waiting.filter((pair) => !taken.has(pair.order));
        expect(queue.size).toBe(waiting.length);
        expect(queue.tokens).toBe(waiting.reduce((sum, { tokens }) => sum + tokens, 0));
      }
    }),
  );
});

test("a deadline beyond the horizon changes nothing", () => {
  fc.assert(
    fc.property(pairs, options, (list, take) => {
      const orders = (dated: (pair: TestPair) => number | undefined): number[][] =>
        drain(filled(list.map((pair) => ({ ...pair, deadline: dated(pair) }))), take).map((batch) =>
          batch.map((pair) => pair.order),
        );
      const far = orders((pair) => NOW + HORIZON_MS + 1 + ((pair.order * 37) % 100));
      expect(far).toEqual(orders(() => undefined));
    }),
  );
});

test("of pairs that are equally long, those with the nearest deadlines go first", () => {
  const deadlines = [undefined, NOW + 900, undefined, NOW + 300, NOW + 2 * HORIZON_MS, NOW + 600];
  const list = pairsOf(deadlines.map(() => 100)).map((pair, i) => ({
    ...pair,
    deadline: deadlines[i],
  }));
  const batches = drain(filled(list), { ...usual, maxTokens: 200 });
  expect(batches.map((batch) => batch.map((pair) => pair.order))).toEqual([
    [3, 5],
    [1, 0],
    [2, 4],
  ]);
});

test("a pair waits a bounded number of batches while others with deadlines keep coming", () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 512 }),
      fc.integer({ min: 0, max: 4 }),
      fc.integer({ min: 0, max: 4 }),
      fc.boolean(),
      (tokens, lane, theirs, areEquallyLong) => {
        const queue = new PairQueue<TestPair>();
        const [odd] = pairsOf([tokens], lane);
        queue.add(odd!);
        // A less urgent lane has its turn every 8 batches, and of its turns a deadline may have every other.
        const bound = MAX_AGE + 2 * 8;
        let batches = 0;
        for (; batches <= bound; batches++) {
          const length = areEquallyLong ? tokens : 128;
          for (const pair of pairsOf(Array.from({ length: 8 }, () => length))) {
            queue.add({ ...pair, lane: theirs, deadline: NOW });
          }
          if (queue.take(usual).includes(odd!)) break;
        }
        expect(batches).toBeLessThanOrEqual(bound);
      },
    ),
  );
});

test("lengths that fit together go together, whatever their order of arrival", () => {
  const batches = drain(filled(pairsOf([100, 10, 101, 11, 99, 10])), usual);
  expect(batches.map((batch) => batch.map((pair) => pair.tokens))).toEqual([
    [99, 100, 101],
    [10, 10, 11],
  ]);
});

test("where a launch costs nothing, nothing is padded; where it is dear, batches are filled", () => {
  const lengths = [100, 104, 96, 100, 108, 97, 103, 99];
  const padded = (fixed: number): number[] =>
    drain(filled(pairsOf(lengths)), { ...usual, cost: { ...usual.cost, fixed } })
      .map((batch) => batch.length)
      .toSorted((a, b) => b - a);
  expect(padded(0)).toEqual([2, 1, 1, 1, 1, 1, 1]);
  expect(padded(10)).toEqual([8]);
});
