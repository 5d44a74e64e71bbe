import { expect, test } from "vitest";
import { kneeTokens } from "../batch/cost.ts";
import { defaultBatchTokens } from "./batch-limits.ts";
import type { Calibration } from "./calibration.ts";

/** A device that is at its best from `flatFrom` padded tokens on, as timed on a machine with neighbours. */
function calibrated(flatFrom: number, seed: number): Calibration {
  let state = seed;
  const noise = (): number => {
    state = (Math.imul(state, 1_103_515_245) + 12_345) & 0x7fffffff;
    return 1 + 0.08 * (state / 0x7fffffff - 0.5);
  };
  const samples = [64, 128, 256, 512].flatMap((length) =>
    [1, 2, 4, 8, 16, 32].map((rows) => {
      const tokens = rows * length;
      const share = Math.min(1, (tokens / flatFrom) ** 0.25);
      return { rows, length, ms: (noise() * tokens * 0.003) / share };
    }),
  );
  return {
    split: { sessions: 1, intraOpThreads: 1 },
    samples,
    kneeTokens: kneeTokens(samples),
    bytesPerToken: 0,
    measuredAt: "2026-11-26T00:00:00.000Z",
  };
}

const seeds = Array.from({ length: 50 }, (_, seed) => seed + 1);

test("on a CPU noise in a calibration does not make batches larger than they need be", () => {
  const limits = seeds.map((seed) => defaultBatchTokens("cpu", calibrated(1_024, seed)));
  expect(Math.max(...limits)).toBe(2_048);
});

test("a CPU that gains by larger batches gets them, and a GPU twice its knee", () => {
  for (const seed of seeds) {
    const calibration = calibrated(8_192, seed);
    expect(defaultBatchTokens("cpu", calibration)).toBeGreaterThanOrEqual(4_096);
    expect(defaultBatchTokens("cuda", calibration)).toBe(2 * calibration.kneeTokens);
  }
});

test("where each token takes long, a batch is no longer than it must be", () => {
  const { samples, ...calibration } = calibrated(64, 1);
  const slow = samples.map((sample) => ({ ...sample, ms: 30 * sample.ms }));
  expect(defaultBatchTokens("cpu", { ...calibration, samples: slow })).toBe(512);
});
