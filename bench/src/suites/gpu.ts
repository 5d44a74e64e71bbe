import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { CostModel, Reranker, type Calibration, type Cost } from "@rankfleet/core";
import { agreement, type Agreement } from "../gpu/agreement.ts";
import { flopsPerPair } from "../gpu/flops.ts";
import { matmulRates, type MatmulRate } from "../gpu/matmul-rate.ts";
import { timeShape, type TimedShape } from "../gpu/passes.ts";
import { modelFor, shapeOf, type Dtype, type ModelName } from "../models/model-for.ts";
import { median, progress, type BenchOptions, type Suite, type SuiteReport } from "../suite.ts";

/**
 * A real device's pairs/s at published sizes, beside what its provider and the card make of plain matrix products; its
 * calibration, as a worker measures it at its first start; and how far its scores are from the CPU's.
 */
export const gpu: Suite = async (options) => {
  const { device, dtype } = options;
  if (dtype === "int8") throw new Error("--dtype int8: the suite gpu measures fp16 and fp32");
  const agreements: (Agreement | Failed)[] = [];
  // First, since it is over at once where the provider does not load.
  agreements.push(await agreement("box", "int8", device));
  progress(agreementLine(agreements[0]!));
  const rates = await orFailed("matrix products", () => matmulRates(device, dtype));
  const models: (ModelRun | Failed)[] = [];
  for (const name of options.gpuModels) {
    models.push(await orFailed(name, () => measureModel(name, options)));
  }
  for (const name of options.gpuModels.filter((each) => each !== "bge-m3")) {
    for (const each of new Set<Dtype>(["fp32", dtype])) {
      const agreed = await orFailed(`${name} ${each}`, () => agreement(name, each, device));
      agreements.push(agreed);
      if (!("what" in agreed)) progress(agreementLine(agreed));
    }
  }
  return report(options, { rates, models, agreements });
};

/** One thing that could not be measured: the others still are, on a machine that is lent for minutes. */
interface Failed {
  readonly what: string;
  readonly error: string;
}

async function orFailed<Result>(
  what: string,
  measure: () => Promise<Result>,
): Promise<Result | Failed> {
  try {
    return await measure();
  } catch (error) {
    const failed = { what, error: error instanceof Error ? error.message : String(error) };
    progress(`${what}: ${failed.error}`);
    return failed;
  }
}

interface ModelRun {
  readonly model: ModelName;
  readonly dtype: Dtype;
  readonly buildSeconds: number;
  /** Opening the folder, loading the weights on the device, calibrating and probing. */
  readonly loadSeconds: number;
  readonly calibration: Calibration;
  readonly cost: Cost;
  /** The largest batch that a worker would make of it, in padded tokens. */
  readonly maxBatchTokens: number;
  readonly shapes: readonly TimedShape[];
  /** What ended the batch sizes of a length early. */
  readonly failures: readonly Failed[];
}

async function measureModel(
  model: Exclude<ModelName, "box">,
  { device, dtype, lengths, seconds }: BenchOptions,
): Promise<ModelRun> {
  const start = performance.now();
  const folder = await modelFor(model, dtype);
  const { vocabulary } = await shapeOf(model);
  const built = performance.now();
  const calibrationFolder = await mkdtemp(join(tmpdir(), "rankfleet-bench-calibration-"));
  try {
    const reranker = await Reranker.load(folder, { dtype, device, calibrationFolder });
    const loadSeconds = (performance.now() - built) / 1000;
    const calibration = reranker.calibration!;
    const cost = new CostModel(calibration.samples).cost;
    progress(`${model}: loaded and calibrated in ${loadSeconds.toFixed(1)} s`);
    const shapes: TimedShape[] = [];
    const failures: Failed[] = [];
    try {
      for (const length of lengths) {
        const timed = await orFailed(`${model}, ${length} tokens`, async () => {
          for await (const shape of batchSizes(reranker, { length, vocabulary }, seconds)) {
            shapes.push(shape);
            progress(
              `${model}, ${shape.rows} × ${length} tokens: ${median(shape.pairsPerSecond).toFixed(1)} pairs/s`,
            );
          }
        });
        if (timed !== undefined) failures.push(timed);
      }
    } finally {
      await reranker.close();
    }
    return {
      model,
      dtype,
      buildSeconds: (built - start) / 1000,
      loadSeconds,
      calibration,
      cost,
      maxBatchTokens: reranker.maxBatchTokens,
      shapes,
      failures,
    };
  } finally {
    await rm(calibrationFolder, { recursive: true, force: true });
  }
}

/** Padded tokens of the batches that are tried. */
const BATCH_TOKENS = [1024, 4096, 16_384, 65_536];

/** Larger and larger batches of a length, up to the one that would take all of its time. */
async function* batchSizes(
  reranker: Reranker,
  shape: { length: number; vocabulary: number },
  seconds: number,
): AsyncGenerator<TimedShape> {
  let msPerRow = 0;
  for (const tokens of BATCH_TOKENS) {
    const rows = Math.max(1, Math.floor(tokens / shape.length));
    // Two passes to warm up and three rounds of two.
    if (8 * rows * msPerRow > 1000 * seconds) return;
    const timed = await timeShape(reranker, { ...shape, rows }, seconds / BATCH_TOKENS.length);
    msPerRow = 1000 / median(timed.pairsPerSecond);
    yield timed;
  }
}

interface Measured {
  readonly rates: readonly MatmulRate[] | Failed;
  readonly models: readonly (ModelRun | Failed)[];
  readonly agreements: readonly (Agreement | Failed)[];
}

async function report(options: BenchOptions, measured: Measured): Promise<SuiteReport> {
  const { device, dtype, matmulTeraflops } = options;
  const provider = "what" in measured.rates ? undefined : fastest(measured.rates);
  const share = (teraflops: number, of: number | undefined): string =>
    of === undefined ? "–" : `${((100 * teraflops) / of).toFixed(1)} %`;
  const rows: (string | number)[][] = [];
  const best: object[] = [];
  for (const run of measured.models) {
    if ("what" in run) continue;
    const shape = await shapeOf(run.model as Exclude<ModelName, "box">);
    for (const length of options.lengths) {
      const [timed] = run.shapes
        .filter((each) => each.length === length)
        .toSorted((a, b) => median(b.pairsPerSecond) - median(a.pairsPerSecond));
      if (timed === undefined) continue;
      const pairsPerSecond = median(timed.pairsPerSecond);
      const flops = flopsPerPair(shape, length);
      const teraflops = (pairsPerSecond * flops) / 1e12;
      const { rows: batch } = timed;
      best.push({ model: run.model, length, rows: batch, pairsPerSecond, flops, teraflops });
      rows.push([
        `${run.model} ${dtype}, ${length} tokens`,
        batch,
        pairsPerSecond.toPrecision(3),
        (flops / 1e9).toPrecision(3),
        teraflops.toPrecision(3),
        share(teraflops, provider?.teraflops),
        share(teraflops, matmulTeraflops),
      ]);
    }
  }
  return {
    what: `random weights in ${dtype} on ${device}, the fastest of several batch sizes`,
    table: [
      ["", "rows", "pairs/s", "GFLOP a pair", "TFLOP/s", "÷ provider's", "÷ card's"],
      ...rows,
    ],
    notes: [
      ...(provider === undefined
        ? []
        : [
            `provider's matrix products: ${provider.teraflops.toPrecision(3)} TFLOP/s, of ${provider.size}² in ${dtype}`,
          ]),
      ...(matmulTeraflops === undefined
        ? []
        : [`card's matrix products, as given: ${matmulTeraflops} TFLOP/s`]),
      ...measured.models.map(modelLine),
      ...measured.agreements.map(agreementLine),
    ],
    ratios: {},
    runs: { device, dtype, matmulTeraflops, best, ...measured },
  };
}

function fastest(rates: readonly MatmulRate[]): MatmulRate {
  return rates.reduce((a, b) => (b.teraflops > a.teraflops ? b : a));
}

function modelLine(run: ModelRun | Failed): string {
  if ("what" in run) return `${run.what}: ${run.error}`;
  const { fixed, perToken, perSquare } = run.cost;
  return (
    `${run.model} calibrated: ${fixed.toPrecision(3)} ms + ${(1000 * perToken).toPrecision(3)} µs a token + ` +
    `${(1e6 * perSquare).toPrecision(3)} ns a row and squared token; knee ${run.calibration.kneeTokens} tokens, ` +
    `batches of up to ${run.maxBatchTokens}; ready after ${run.loadSeconds.toFixed(1)} s` +
    run.failures.map(({ what, error }) => `; ${what}: ${error}`).join("")
  );
}

function agreementLine(agreed: Agreement | Failed): string {
  if ("what" in agreed) return `${agreed.what}: ${agreed.error}`;
  const [least, greatest] = agreed.logits.map((logit) => logit.toFixed(2));
  return (
    `${agreed.model} ${agreed.dtype}: ${agreed.pairs} logits of ${least} to ${greatest} differ from the CPU's ` +
    `in ${agreed.reference} by at most ${agreed.largestDifference.toExponential(1)}`
  );
}
