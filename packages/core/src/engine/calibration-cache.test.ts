import { copyFile, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { CalibrationCache, type CalibrationKey } from "./calibration-cache.ts";
import type { Calibration } from "./calibration.ts";

const key: CalibrationKey = {
  revision: "0123456789ab",
  dtype: "fp32",
  device: "cpu",
  threads: 4,
  runtime: "onnxruntime-node 1.30.0",
};
const sample = { rows: 2, length: 64, ms: 1.5 };
const calibration: Calibration = {
  split: { sessions: 2, intraOpThreads: 2 },
  samples: [sample],
  kneeTokens: 128,
  maxSquares: 1e6,
  bytesPerToken: 0,
  measuredAt: "2026-11-26T05:00:00.000Z",
};

let folder: string;
let cache: CalibrationCache;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "rankfleet-calibrations-"));
  cache = new CalibrationCache(folder);
});
afterAll(() => rm(folder, { recursive: true }));

test("a calibration is read as it was written", async () => {
  const { maxSquares: _, ...unbounded } = calibration;
  for (const written of [calibration, unbounded]) {
    await cache.write(key, written);
    expect(await cache.read(key)).toEqual(written);
  }
});

test.each<[string, Record<string, unknown> | null]>([
  ["nothing", null],
  ["no samples", { ...calibration, samples: undefined }],
  ["samples that are none", { ...calibration, samples: [] }],
  ["a sample that is no object", { ...calibration, samples: [null] }],
  ["a sample without rows", { ...calibration, samples: [{ length: 64, ms: 1 }] }],
  ["half a row", { ...calibration, samples: [{ ...sample, rows: 0.5 }] }],
  ["a length of 0", { ...calibration, samples: [{ ...sample, length: 0 }] }],
  ["a pass that took no time", { ...calibration, samples: [sample, { ...sample, ms: 0 }] }],
  ["a knee in words", { ...calibration, kneeTokens: "x" }],
  ["no knee", { ...calibration, kneeTokens: 0 }],
  ["no split", { ...calibration, split: undefined }],
  ["no sessions", { ...calibration, split: { sessions: 0, intraOpThreads: 1 } }],
  ["half a thread", { ...calibration, split: { sessions: 1, intraOpThreads: 0.5 } }],
  ["more sessions than threads", { ...calibration, split: { sessions: 5, intraOpThreads: 1 } }],
  ["a bound of 0", { ...calibration, maxSquares: 0 }],
  ["a bound that is null", { ...calibration, maxSquares: null }],
  ["memory below 0", { ...calibration, bytesPerToken: -1 }],
  ["a date that is none", { ...calibration, measuredAt: "yesterday" }],
])("a file with %s in it is as good as none", async (_, damaged) => {
  await cache.write(key, damaged as unknown as Calibration);
  expect(await cache.read(key)).toBeUndefined();
});

test("a number beyond all numbers is none, nor is half a file a calibration", async () => {
  await cache.write(key, calibration);
  const json = await readFile(cache.file(key), "utf8");
  await writeFile(cache.file(key), json.replace("1.5", "1e999"));
  expect(await cache.read(key)).toBeUndefined();
  await writeFile(cache.file(key), json.slice(0, json.length / 2));
  expect(await cache.read(key)).toBeUndefined();
});

test.each<Partial<CalibrationKey>>([
  { revision: "ba9876543210" },
  { dtype: "int8" },
  { device: "webgpu" },
  { threads: 8 },
  { runtime: "onnxruntime-node 1.31.0" },
  { deviceOptions: { preferredLayout: "NCHW" } },
])("what was measured holds for no other %o", async (part) => {
  const other = { ...key, ...part };
  await cache.write(key, calibration);
  expect(await cache.read(other)).toBeUndefined();
  // Nor does the name of the file decide.
  await copyFile(cache.file(key), cache.file(other));
  expect(await cache.read(other)).toBeUndefined();
  await rm(cache.file(other), { force: true });
});
