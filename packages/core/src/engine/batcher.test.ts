import { setImmediate as turn } from "node:timers/promises";
import { expect, test, vi } from "vitest";
import { CostModel } from "../batch/cost.ts";
import type { TokenBatch } from "../batch/pack.ts";
import type { EncodedPairs } from "../tokenize/pairs.ts";
import { CoreError } from "../errors.ts";
import { Batcher } from "./batcher.ts";
import type { Device } from "./device.ts";
import { MOST_SCORED } from "./equal-pairs.ts";

const HARMLESS = 7;
const one = (id: number): TokenBatch => ({
  ids: Int32Array.of(id, id),
  offsets: Int32Array.of(0, 2),
  secondStarts: Int32Array.of(1),
});

/** Pairs of two tokens each, both the pair's own number. */
function pairsOf(numbers: readonly number[]): EncodedPairs {
  return {
    ids: Int32Array.from(numbers.flatMap((number) => [number, number])),
    offsets: Int32Array.from([...numbers, 0], (_, index) => 2 * index),
    secondStarts: Int32Array.from(numbers, () => 1),
  };
}

/** In a device's place: what `answer` gives for each pair of a batch, or throws. */
function batcherOn(
  answer: (pair: number) => number,
  onRows: (rows: number) => void = () => {},
  others: readonly Device[] = [],
): Batcher {
  const run = (batch: TokenBatch): Promise<unknown> => {
    const rows = batch.offsets.length - 1;
    try {
      onRows(rows);
      const logits = Float32Array.from({ length: rows }, (_, row) => answer(batch.ids[2 * row]!));
      return Promise.resolve({ logits, durationMs: 1 });
    } catch (error) {
      return Promise.reject(error);
    }
  };
  const device = { name: "fake", inFlight: 0, inFlightUpTo: () => 0, isSilent: false, run };
  return batcherOf([...others, device as unknown as Device]);
}

function batcherOf(
  devices: readonly Device[],
  options: { remembersScored?: boolean; enoughTokens?: number | undefined } = {},
): Batcher {
  return new Batcher(devices, {
    cost: new CostModel([
      { rows: 1, length: 50, ms: 1 },
      { rows: 10, length: 100, ms: 10.5 },
    ]),
    maxBatchTokens: 64,
    maxPadding: 0.05,
    onBatch: () => {},
    remembersScored: false,
    ...options,
    harmless: () => one(HARMLESS),
  });
}

test.each([
  ["gives NaN", (): number => Number.NaN, "score_not_finite"],
  [
    "throws",
    (): number => {
      throw new Error("no");
    },
    "inference_failed",
  ],
])("a pair for which the model %s fails alone, after one more try", async (_, effect, code) => {
  let tries = 0;
  const batcher = batcherOn((pair) => {
    if (pair !== 13) return pair;
    tries++;
    return effect();
  });
  const { logits, failures } = await batcher.score(pairsOf([10, 11, 12, 13, 14]), {});
  expect([...logits]).toEqual([10, 11, 12, Number.NaN, 14]);
  expect([...failures].map(([index, failure]) => [index, failure.code])).toEqual([[3, code]]);
  expect(tries).toBeGreaterThan(1);
});

test("what fails once and not again costs nobody anything", async () => {
  let isFirst = true;
  const batcher = batcherOn((pair) => {
    if (pair !== 13 || !isFirst) return pair;
    isFirst = false;
    return Number.NaN;
  });
  const { logits, failures } = await batcher.score(pairsOf([12, 13]), {});
  expect([[...logits], failures.size]).toEqual([[12, 13], 0]);
});

test("a device that fails on what it has scored before is sick, and no pair is to blame", async () => {
  const batcher = batcherOn(() => {
    throw new Error("CUDA failure 2: out of memory");
  });
  await expect(batcher.score(pairsOf([10, 11, 12]), {})).rejects.toMatchObject({
    code: "engine_crashed",
    message: expect.stringContaining("out of memory") as string,
  });
});

test("one pair that throws does not make the others' batches small", async () => {
  let largest = 0;
  const batcher = batcherOn(
    (pair) => {
      if (pair === 13) throw new Error("no");
      return pair;
    },
    (rows) => (largest = Math.max(largest, rows)),
  );
  await batcher.score(pairsOf([10, 11, 12, 13, 14, 15, 16, 17]), {});
  largest = 0;
  await batcher.score(pairsOf([20, 21, 22, 23, 24, 25, 26, 27]), {});
  expect(largest).toBe(8);
});

test("batches that are too large for the device become smaller", async () => {
  let tried = 0;
  const batcher = batcherOn(
    (pair) => pair,
    (rows) => {
      if (rows > 16) tried++;
      if (rows > 16) throw new Error("out of memory");
    },
  );
  for (let round = 0; round < 5; round++) {
    const numbers = Array.from({ length: 32 }, (_, i) => 100 * (round + 1) + i);
    const { failures } = await batcher.score(pairsOf(numbers), {});
    expect(failures.size).toBe(0);
  }
  // The second round may be on its way before the first one's halves have told.
  expect(tried).toBeLessThanOrEqual(2);
});

test("on a device that turns out slower than it was batches become shorter, but not than is enough", async () => {
  const largestOf = async (enoughTokens?: number): Promise<number> => {
    let largest = 0;
    const run = (batch: TokenBatch): Promise<unknown> => {
      const rows = batch.offsets.length - 1;
      largest = Math.max(largest, rows);
      return Promise.resolve({ logits: new Float32Array(rows), durationMs: batch.ids.length });
    };
    const device = { name: "slow", inFlight: 0, inFlightUpTo: () => 0, isSilent: false, run };
    const batcher = batcherOf([device as unknown as Device], { enoughTokens });
    const numbers = Array.from({ length: 60 }, (_, i) => 100 + i);
    await batcher.score(pairsOf(numbers.slice(0, 20)), {});
    largest = 0;
    await batcher.score(pairsOf(numbers.slice(20)), {});
    return largest;
  };
  // 40 tokens take it 44 times what was expected, so 64 should take 51 ms: 32 tokens are worth a message.
  expect(await largestOf(8)).toBe(16);
  expect(await largestOf(40)).toBe(20);
  expect(await largestOf()).toBe(32);
});

test("a device whose thread has died gets nothing while another one lives", async () => {
  const dead = {
    name: "dead",
    isDead: true,
    inFlight: 0,
    inFlightUpTo: () => 0,
    run: () => Promise.reject(new CoreError("engine_crashed", "dead")),
  };
  const batcher = batcherOn((pair) => pair, undefined, [dead as unknown as Device]);
  const { logits } = await batcher.score(pairsOf([10, 11]), {});
  expect([...logits]).toEqual([10, 11]);
});

test("a request without pairs leaves nothing on its caller's signal", async () => {
  const { signal } = new AbortController();
  const listen = vi.spyOn(signal, "addEventListener");
  await batcherOn((pair) => pair).score(pairsOf([]), { signal });
  expect(listen).not.toHaveBeenCalled();
});

/** A device that answers when it is told to, and what it was given. */
function heldDevice(): { device: Device; batches: number[][]; answer: () => Promise<void> } {
  const batches: number[][] = [];
  const underWay: (() => void)[] = [];
  const run = ({ ids, offsets }: TokenBatch): Promise<unknown> => {
    const pairs = Array.from(offsets.subarray(1), (_, row) => ids[2 * row]!);
    batches.push(pairs);
    const reply = { logits: Float32Array.from(pairs), durationMs: 50 };
    return new Promise((resolve) => underWay.push(() => resolve(reply)));
  };
  const inFlightUpTo = (): number => underWay.length;
  /** Once what has been asked for is under way. */
  const answer = async (): Promise<void> => {
    await turn();
    underWay.shift()?.();
    await turn();
  };
  return { device: { name: "fake", inFlightUpTo, run } as unknown as Device, batches, answer };
}

const bulk = Array.from({ length: 200 }, (_, i) => 1_000 + i);

test("what has a near deadline is in the next batch, and what has a far one waits", async () => {
  const { device, batches, answer } = heldDevice();
  const batcher = batcherOf([device]);
  const others = batcher.score(pairsOf(bulk), {});
  await turn();
  const now = Date.now();
  const far = batcher.score(pairsOf([30]), { deadline: now + 3_600_000 });
  const later = batcher.score(pairsOf([20]), { deadline: now + 600 });
  const near = batcher.score(pairsOf([10, 11]), { deadline: now + 300 });
  const sent = batches.length;
  await answer();
  expect(batches[sent]!.slice(0, 4)).toEqual([10, 11, 20, 1_000 + 32 * sent]);
  expect(batches[sent]).not.toContain(30);
  while (batches.flat().length < 204) await answer();
  for (const _ of batches) await answer();
  await Promise.all([others, far, later, near]);
});

/** Pairs that may be shared. */
function shared(numbers: readonly number[]): EncodedPairs {
  return { ...pairsOf(numbers), hashes: Int32Array.from(numbers) };
}

test("a pair that was scored a moment ago is not scored again where scores are kept, and is where they are not", async () => {
  for (const remembersScored of [true, false]) {
    const { device, batches, answer } = heldDevice();
    const batcher = batcherOf([device], { remembersScored });
    const first = batcher.score(shared([7, 8]), {});
    await answer();
    const second = batcher.score(shared([8, 9]), { lane: 0 });
    await turn();
    const sent = batches.slice(1).flat();
    expect(sent).toEqual(remembersScored ? [9] : [8, 9]);
    await answer();
    expect((await second).logits[0]).toBe((await first).logits[1]);
    expect(batcher.sharedPairs).toBe(remembersScored ? 1 : 0);
  }
});

test("of the pairs scored a moment ago only the last are remembered", async () => {
  const { device, batches, answer } = heldDevice();
  const batcher = batcherOf([device], { remembersScored: true });
  const numbers = Array.from({ length: MOST_SCORED + 1 }, (_, index) => index);
  const all = batcher.score(shared(numbers), {});
  while (batches.flat().length < numbers.length) await answer();
  for (const _ of batches) await answer();
  await all;
  const order = batches.flat();
  const sent = batches.length;
  const again = batcher.score(shared([order[0]!, order[1]!, order.at(-1)!]), {});
  await turn();
  expect(batches.slice(sent).flat()).toEqual([order[0]]);
  await answer();
  expect([...(await again).logits]).toEqual([order[0], order[1], order.at(-1)]);
});

test("a pair with a near deadline does not lean on an equal one that has time", async () => {
  const { device, batches, answer } = heldDevice();
  const batcher = batcherOf([device]);
  const deadline = Date.now() + 300;
  const others = batcher.score(shared(bulk), {});
  await turn();
  const urgent = batcher.score(shared([1_199]), { deadline });
  const patient = batcher.score(shared([1_199]), {});
  const sent = batches.length;
  await answer();
  expect(batches[sent]![0]).toBe(1_199);
  while (batches.flat().length < 201) await answer();
  for (const _ of batches) await answer();
  await Promise.all([others, urgent, patient]);
  expect(batcher.sharedPairs).toBe(1);
});
