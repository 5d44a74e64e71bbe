import { expect, test } from "vitest";
import type { TokenBatch } from "../batch/pack.ts";
import type { EncodedRequest } from "../tokenize/pairs.ts";
import { calibrate, probe, probeRows, type Encode } from "./calibration.ts";
import type { Device } from "./device.ts";
import { readTexts } from "./request.ts";

/** A token for each five characters, the first of them. */
const encode: Encode = (request) => {
  const { documents } = readTexts(request.texts);
  const most = request.maxTokensPerDocument ?? Infinity;
  const lengths = documents.map((text) => 8 + Math.min(most, Math.ceil(text.length / 5)));
  const offsets = [0];
  for (const length of lengths) offsets.push(offsets.at(-1)! + length);
  const encoded: EncodedRequest = {
    documents: {
      firstPairs: new Int32Array(1),
      truncated: new Uint8Array(0),
      failures: new Map(),
    },
    pairs: {
      ids: Int32Array.from(
        documents.flatMap((text, row) =>
          Array.from({ length: lengths[row]! }, (_, at) => text.charCodeAt(5 * at) || 0),
        ),
      ),
      offsets: Int32Array.from(offsets),
      secondStarts: new Int32Array(lengths.length).fill(4),
    },
  };
  return Promise.resolve(encoded);
};

function deviceThat(
  logitOf: (batch: TokenBatch) => number,
  {
    name = "cpu",
    msOf = (): number => 0,
  }: { name?: string; msOf?: (batch: TokenBatch) => number } = {},
): Device {
  const run = async (batch: TokenBatch): Promise<unknown> => {
    await new Promise((resolve) => setTimeout(resolve, msOf(batch)));
    const logits = new Float32Array(batch.offsets.length - 1).fill(logitOf(batch));
    return { logits, durationMs: 1 };
  };
  return { name, run } as unknown as Device;
}

const rowsOf = ({ offsets }: TokenBatch): number => offsets.length - 1;
const longestOf = ({ offsets }: TokenBatch): number =>
  offsets.reduce((most, end, row) => Math.max(most, row > 0 ? end - offsets[row - 1]! : 0), 0);

const notDynamic = (): Promise<boolean> => Promise.resolve(false);
const split = { sessions: 1, intraOpThreads: 1 };

test("a model that answers NaN is not served", async () => {
  await expect(
    probe(
      deviceThat(() => Number.NaN),
      await probeRows(encode),
      notDynamic,
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

test("a GPU that falls off for large batches has a bound, and its cost is that of what it is given", async () => {
  const device = deviceThat(() => 1, {
    name: "webgpu",
    msOf: (batch) => 2 + (rowsOf(batch) * longestOf(batch) ** 2 > 5e6 ? 200 : 0),
  });
  const { maxSquares, samples } = await calibrate([device], split, encode, 512);
  expect(maxSquares).toBeLessThanOrEqual(5e6);
  expect(maxSquares).toBeGreaterThan(1e6);
  expect(Math.max(...samples.map(({ ms }) => ms))).toBeLessThan(100);
});

test("what a batch's shape does to a score is told from what company does", async () => {
  const byShape = await probe(
    deviceThat((batch) => 1 + 1e-3 * rowsOf(batch)),
    await probeRows(encode),
    notDynamic,
  );
  expect(byShape.deviation).toBeGreaterThan(1e-3);
  expect(byShape.deviatesBy).toBe("shape");
  const byCompany = await probe(
    deviceThat((batch) => 1 + 1e-3 * Math.max(...batch.ids)),
    await probeRows(encode),
    notDynamic,
  );
  expect(byCompany.deviatesBy).toBe("company");
  const byHiddenCompany = await probe(
    deviceThat((batch) => 1 + 1e-3 * rowsOf(batch)),
    await probeRows(encode),
    () => Promise.resolve(true),
  );
  expect(byHiddenCompany.deviatesBy).toBe("company");
});
