import { expect, test } from "vitest";
import { CostModel } from "../batch/cost.ts";
import type { TokenBatch } from "../batch/pack.ts";
import type { EncodedPairs } from "../tokenize/pairs.ts";
import { Batcher } from "./batcher.ts";
import type { Device } from "./device.ts";

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
function batcherOn(answer: (pair: number) => number): Batcher {
  const run = (batch: TokenBatch): Promise<unknown> => {
    const rows = batch.offsets.length - 1;
    try {
      const logits = Float32Array.from({ length: rows }, (_, row) => answer(batch.ids[2 * row]!));
      return Promise.resolve({ logits, durationMs: 1 });
    } catch (error) {
      return Promise.reject(error);
    }
  };
  const device = { name: "fake", inFlight: 0, inFlightUpTo: () => 0, isSilent: false, run };
  return new Batcher([device as unknown as Device], {
    cost: new CostModel([
      { rows: 1, length: 50, ms: 1 },
      { rows: 10, length: 100, ms: 10.5 },
    ]),
    maxBatchTokens: 16,
    maxPadding: 0.05,
    onBatch: () => {},
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
