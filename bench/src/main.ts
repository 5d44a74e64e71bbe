import { writeFile } from "node:fs/promises";
import { parseArgs } from "node:util";
import { environment } from "./environment.ts";
import { DTYPES, MODEL_NAMES, type Dtype, type ModelName } from "./models/model-for.ts";
import { writePlots } from "./plots.ts";
import type { BenchOptions, SuiteReport } from "./suite.ts";
import { defaultsOf, GROUPS, SUITES } from "./suites.ts";
import { printTable } from "./table.ts";
import { worstRatios } from "./worst-ratios.ts";

const HELP = `Usage: npm run bench -- [options]

How far rankfleet is from the limit, from its rivals' policies and from what people write today.
All contestants of a suite run in one go, alternating, on the same pairs and threads. bench/README.md

Options:
  --suite NAME      ${[...Object.keys(SUITES), ...Object.keys(GROUPS)].join(", ")} (default quick);
                    several with commas between
  --model NAME      ${MODEL_NAMES.join(", ")} (default box; of gpu-mixed l6); all but box have random weights
  --dtype TYPE      ${DTYPES.join(", ")} (default int8, which is all that box has; of gpu and gpu-mixed fp16)
  --threads N       inference threads of each contestant (default 1: the other core is the queue's)
  --rounds N        rounds after a warm-up (default 5)
  --seconds N       about how long the limit takes for a round; of gpu, each length (default 6)
  --peers           also the slow ones: BullMQ + transformers.js, transformers.js
  --device NAME     where passes run, as the worker takes it (default cpu; of gpu and gpu-mixed webgpu)
  --models NAMES    of gpu: models with random weights (default l6,bge-m3)
  --lengths LIST    of gpu: tokens of a pair (default 32,128,256,512)
  --matmul-tflops N of gpu: what the card makes of matrix products, measured elsewhere
  --json FILE       everything measured, round by round
  --plots FOLDER    SVG plots
  -h, --help

Examples:
  npm run bench
  npm run bench -- --suite mixed --model l6 --dtype int8 --peers --json mixed.json
  npm run bench -- --suite simulated --json simulated.json --plots bench/plots
  npm run bench -- --suite gpu --device webgpu --json gpu.json
`;

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      suite: { type: "string", default: "quick" },
      model: { type: "string" },
      dtype: { type: "string" },
      threads: { type: "string", default: "1" },
      rounds: { type: "string", default: "5" },
      seconds: { type: "string", default: "6" },
      peers: { type: "boolean", default: false },
      device: { type: "string" },
      models: { type: "string", default: "l6,bge-m3" },
      lengths: { type: "string", default: "32,128,256,512" },
      "matmul-tflops": { type: "string" },
      json: { type: "string" },
      plots: { type: "string" },
      help: { type: "boolean", short: "h", default: false },
    },
  });
  if (values.help) {
    process.stdout.write(HELP);
    return;
  }
  const options: Omit<BenchOptions, "model" | "dtype" | "device"> = {
    threads: count("--threads", values.threads),
    rounds: count("--rounds", values.rounds),
    seconds: count("--seconds", values.seconds),
    withPeers: values.peers,
    gpuModels: values.models
      .split(",")
      .map((name) => oneOf("--models", name, RANDOM_MODELS) as (typeof RANDOM_MODELS)[number]),
    lengths: values.lengths.split(",").map((length) => count("--lengths", length)),
    matmulTeraflops: positive("--matmul-tflops", values["matmul-tflops"]),
  };
  const { model, dtype, device } = values;
  const asked = {
    ...(model === undefined ? {} : { model: oneOf("--model", model, MODEL_NAMES) as ModelName }),
    ...(dtype === undefined ? {} : { dtype: oneOf("--dtype", dtype, DTYPES) as Dtype }),
    ...(device === undefined ? {} : { device }),
  };
  const known = [...Object.keys(SUITES), ...Object.keys(GROUPS)];
  const names = values.suite.split(",").flatMap((each) => {
    const name = oneOf("--suite", each, known);
    return GROUPS[name] ?? [name];
  });
  // Before it measures: what is committed meanwhile is not what ran.
  const where = await environment();
  const suites: Record<string, SuiteReport> = {};
  for (const each of names) {
    const report = await SUITES[each]!({ ...options, ...defaultsOf(each), ...asked });
    suites[each] = report;
    process.stdout.write(`\n${each}: ${report.what}\n${printTable(report.table)}\n`);
    for (const note of report.notes ?? []) process.stdout.write(`${note}\n`);
  }
  const left = Object.keys(SUITES).filter((suite) => !names.includes(suite));
  if (left.length > 0)
    process.stdout.write(`\nNot run: ${left.join(", ")} (--suite all runs what needs no GPU)\n`);
  const { ratios, ratioSuites } = worstRatios(suites);
  process.stdout.write(`\nratios ${JSON.stringify(ratios, undefined, 2)}\n`);
  if (values.json !== undefined) {
    const runs = Object.fromEntries(
      Object.entries(suites).map(([suite, { what, runs: all, ratios: own }]) => [
        suite,
        { what, ratios: own, runs: all },
      ]),
    );
    const report = { environment: where, suites: runs, ratios, ratioSuites };
    await writeFile(values.json, `${JSON.stringify(report, undefined, 2)}\n`);
  }
  if (values.plots !== undefined) await writePlots(values.plots, suites);
}

function oneOf(flag: string, value: string, allowed: readonly string[]): string {
  if (allowed.includes(value)) return value;
  throw new Error(`${flag} must be one of ${allowed.join(", ")}, not "${value}"`);
}

const RANDOM_MODELS = MODEL_NAMES.filter((name) => name !== "box");

function positive(flag: string, value: string | undefined): number | undefined {
  if (value === undefined || Number(value) > 0) return value === undefined ? value : Number(value);
  throw new Error(`${flag} must be a number above 0, not "${value}"`);
}

function count(flag: string, value: string): number {
  if (/^[1-9]\d*$/u.test(value)) return Number(value);
  throw new Error(`${flag} must be a whole number of at least 1, not "${value}"`);
}

for (const signal of ["SIGINT", "SIGTERM"] as const) {
  // `exit` kills the workers and Redis.
  process.once(signal, () => process.exit(signal === "SIGINT" ? 130 : 143));
}
try {
  await main();
} catch (error) {
  process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`);
  // What else has been started, threads and processes, ends with this one.
  process.exit(1);
}
