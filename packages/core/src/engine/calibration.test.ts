import { expect, test } from "vitest";
import type { TokenBatch } from "../batch/pack.ts";
import type { EncodedRequest } from "../tokenize/pairs.ts";
import { calibrate, probe, type Encode } from "./calibration.ts";
import type { Device } from "./device.ts";
import { readTexts } from "./request.ts";

/** A token for each five characters. */
const encode: Encode = (request) => {
  const { documents } = readTexts(request.texts);
  const most = request.maxTokensPerDocument ?? Infinity;
  const lengths = documents.map((text) => 8 + Math.min(most, Math.ceil(text.length / 5)));
  const offsets = [0];
  for (const length of lengths) offsets.push(offsets.at(-1)! + length);
  const encoded: EncodedRequest = {
    documents: [],
    pairs: {
      ids: new Int32Array(offsets.at(-1)!),
      offsets: Int32Array.from(offsets),
      secondStarts: new Int32Array(lengths.length).fill(4),
    },
  };
  return Promise.resolve(encoded);
};

function deviceThat(logitOf: (batch: TokenBatch) => number): Device {
  const run = async (batch: TokenBatch): Promise<unknown> => {
    await new Promise((resolve) => setTimeout(resolve, 0));
    const logits = new Float32Array(batch.offsets.length - 1).fill(logitOf(batch));
    return { logits, durationMs: 1 };
  };
  return { name: "cpu", run } as unknown as Device;
}

const split = { sessions: 1, intraOpThreads: 1 };

test("a model that answers NaN is not served", async () => {
  await expect(
    probe(
      deviceThat(() => Number.NaN),
      encode,
    ),
  ).rejects.toMatchObject({ code: "model_unsupported", field: "model" });
});

test("a shape for which memory does not suffice ends the grid, not the worker", async () => {
  const device = deviceThat((batch) => {
    if (batch.ids.length > 1000) throw new Error("CUDA failure 2: out of memory");
    return 1;
  });
  const { samples } = await calibrate([device], split, encode, 512);
  expect(samples.length).toBeGreaterThan(3);
  expect(Math.max(...samples.map(({ rows, length }) => rows * length))).toBeLessThanOrEqual(1000);
});

test("a model of very short inputs is measured at what it takes", async () => {
  const { samples } = await calibrate([deviceThat(() => 1)], split, encode, 12);
  expect(samples.length).toBeGreaterThan(0);
});
