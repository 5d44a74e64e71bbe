import { mkdtemp, rm } from "node:fs/promises";
import { availableParallelism, tmpdir } from "node:os";
import { join } from "node:path";
import { isMainThread, parentPort, Worker, workerData } from "node:worker_threads";
import { openBackend } from "@rankfleet/core";
import { writeModel } from "@rankfleet/graph";
import type { FloatType } from "../models/float16.ts";
import { matmulFlops, matmulGraph } from "../models/matmul-graph.ts";
import { progress } from "../suite.ts";

/** Products of square matrices of `size` rows on a device. */
export interface MatmulRate {
  readonly size: number;
  readonly teraflops: number;
  /** Of each pass of chained products. */
  readonly passesMs: readonly number[];
}

/** From matrices that a launch outweighs to 134 MB of float16. */
const SIZES = [512, 1024, 2048, 4096, 8192];
/** A pass of the next size takes eight times as long; slow devices stop early. */
const LONGEST_PASS_MS = 1500;

/**
 * What the device's provider makes of plain matrix products, size by size: the most that any model's passes could do on
 * it.
 */
export async function matmulRates(device: string, floatType: FloatType): Promise<MatmulRate[]> {
  const folder = await mkdtemp(join(tmpdir(), "rankfleet-bench-matmul-"));
  const rates: MatmulRate[] = [];
  try {
    for (const size of SIZES) {
      const file = join(folder, `${size}.onnx`);
      await writeModel(file, matmulGraph(size, floatType));
      const passesMs = await timePasses({ file, device });
      const best = Math.min(...passesMs);
      const rate = { size, teraflops: matmulFlops(size) / best / 1e9, passesMs };
      rates.push(rate);
      progress(`${floatType} products of ${size}²: ${rate.teraflops.toFixed(2)} TFLOP/s`);
      if (8 * best > LONGEST_PASS_MS) break;
    }
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
  return rates;
}

interface ThreadData {
  readonly file: string;
  readonly device: string;
}

function timePasses(data: ThreadData): Promise<number[]> {
  const worker = new Worker(new URL(import.meta.url), { workerData: data });
  return new Promise((resolve, reject) => {
    worker.once("message", resolve);
    worker.once("error", reject);
    worker.once("exit", () => reject(new Error("the thread of matrix products ended early")));
  });
}

const WARM_UP_PASSES = 2;
const LEAST_PASSES = 3;
const AT_LEAST_MS = 500;

async function serve({ file, device }: ThreadData): Promise<void> {
  const session = await openBackend(file, { device, intraOpThreads: availableParallelism() });
  const feeds = { s: { type: "float32", data: Float32Array.of(1), dims: [1, 1] } } as const;
  const passesMs: number[] = [];
  const start = performance.now();
  for (let pass = 0; ; pass++) {
    const passStart = performance.now();
    const { corner } = await session.run(feeds);
    const passEnd = performance.now();
    if (!Number.isFinite(corner?.data[0])) throw new Error(`a product's entry is no number`);
    if (pass >= WARM_UP_PASSES) passesMs.push(passEnd - passStart);
    if (passesMs.length >= LEAST_PASSES && passEnd - start > AT_LEAST_MS) break;
  }
  await session.close();
  parentPort!.postMessage(passesMs);
}

if (!isMainThread) await serve(workerData as ThreadData);
