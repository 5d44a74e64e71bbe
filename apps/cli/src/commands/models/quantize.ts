import { cp, mkdir, readFile, rename, rm, stat } from "node:fs/promises";
import { join, relative, resolve, sep } from "node:path";
import { CoreError, openModelFolder, Reranker } from "@rankfleet/core";
import {
  calibrateActivations,
  quantizeStatic,
  quantizeWeights,
  readModel,
  writeModel,
  type CalibrationRequest,
  type OnnxModel,
} from "@rankfleet/graph";
import { interruptSignal } from "../../interrupt.ts";
import { table } from "../../print.ts";

interface QuantizeFlags {
  readonly out: string;
  readonly method: "static" | "weights";
  readonly calibration?: string;
  readonly pairs: number;
  readonly json?: boolean;
}

/** Of the calibration text, the share that is kept to compare scores on. */
const HELD_OUT = 0.2;
const LEAST_REQUESTS = 5;

/** `rankfleet models quantize` */
export async function quantizeModel(folder: string, flags: QuantizeFlags): Promise<void> {
  const signal = interruptSignal();
  try {
    await quantize(folder, flags, signal);
  } catch (error) {
    if (!signal.aborted) throw error;
  }
}

async function quantize(folder: string, flags: QuantizeFlags, signal: AbortSignal): Promise<void> {
  const source = await openModelFolder(folder, "fp32");
  if (resolve(flags.out) === source.path)
    throw wrong("out", "must be another folder than the model's");
  if (!relative(source.path, resolve(flags.out)).startsWith(`..`))
    throw wrong("out", "must not lie inside the model's folder, which is copied there");
  if (flags.calibration === undefined) {
    throw wrong(
      "calibration",
      'is missing: give a file of JSON lines like {"query": …, "documents": […]}, some hundred pairs of the kind that the model will see; both methods are compared with the original on it',
    );
  }
  await requireRoom(source.path, flags.out);
  const requests = await readCalibration(flags.calibration, flags.pairs);
  const kept = Math.max(1, Math.floor(HELD_OUT * requests.length));
  const [heldOut, text] = [requests.slice(0, kept), requests.slice(kept)];
  const model = await readModel(source.weights);
  const layers =
    flags.method === "static"
      ? quantizeStatic(model, await calibrateActivations(folder, text, signal))
      : quantizeWeights(model);
  if (layers === 0) {
    throw wrong(
      "folder",
      "holds no matrix product with a constant float32 matrix: nothing to quantise",
    );
  }
  signal.throwIfAborted();
  await copyFolder(source.path, flags.out);
  const dtype = flags.method === "static" ? "int8" : "w8";
  const file = join(flags.out, "onnx", `model_${dtype}.onnx`);
  await writeWholeModel(file, model);
  const before = await measure(folder, "fp32", heldOut);
  const after = await measure(flags.out, dtype, heldOut);
  const pairs = before.logits.flatMap((logits, request) =>
    logits.flatMap((logit, i) => {
      const other = after.logits[request]![i];
      return logit === null || other === null || other === undefined
        ? []
        : [{ request, before: logit, after: other }];
    }),
  );
  if (pairs.length === 0)
    throw wrong("calibration", "has no pair to compare on that can be scored");
  const differences = pairs.map((pair) => Math.abs(pair.before - pair.after));
  const report = {
    out: flags.out,
    dtype,
    layers,
    bytes: { before: (await stat(source.weights)).size, after: (await stat(file)).size },
    pairsPerSecond: { before: before.pairsPerSecond, after: after.pairsPerSecond },
    batchInvariant: after.batchInvariant,
    heldOut: {
      pairs: pairs.length,
      meanDifference: differences.reduce((sum, value) => sum + value, 0) / pairs.length,
      largestDifference: Math.max(...differences),
      spread: deviation(pairs.map((pair) => pair.before)),
      orderKept: sameOrder(pairs),
    },
  };
  process.stdout.write(`${flags.json ? JSON.stringify(report) : describe(report)}\n`);
}

/** So many pairs, of as many requests as there are: of long ones the first documents. */
async function readCalibration(file: string, pairs: number): Promise<CalibrationRequest[]> {
  const content = await readFile(file, "utf8").catch(() => {
    throw wrong("calibration", `cannot be read: ${file}`);
  });
  const requests: CalibrationRequest[] = [];
  for (const [index, line] of content.split("\n").entries()) {
    if (line.trim() === "" || requests.length === pairs) continue;
    const request = readLine(line);
    if (request === undefined) {
      throw wrong(
        "calibration",
        `${file}:${index + 1}: is no {"query": …, "documents": […]} or {"query": …, "positive": …}`,
      );
    }
    requests.push(request);
  }
  if (requests.length < LEAST_REQUESTS) {
    throw wrong(
      "calibration",
      `${file} has ${requests.length} requests; at least ${LEAST_REQUESTS} are needed`,
    );
  }
  const most = Math.ceil(pairs / requests.length);
  return requests.map(({ query, documents }) => ({ query, documents: documents.slice(0, most) }));
}

function readLine(line: string): CalibrationRequest | undefined {
  try {
    const { query, documents, positive } = JSON.parse(line) as Record<string, unknown>;
    const list: unknown[] = Array.isArray(documents) ? documents : [positive];
    const texts = list.map((each) =>
      typeof each === "object" && each !== null && "text" in each ? each.text : each,
    );
    const isText = (text: unknown): text is string => typeof text === "string" && text !== "";
    return isText(query) && texts.length > 0 && texts.every(isText)
      ? { query, documents: texts }
      : undefined;
  } catch {
    return undefined;
  }
}

/** Half a file would be the dtype that a worker finds, and cannot load. */
async function writeWholeModel(file: string, model: OnnxModel): Promise<void> {
  try {
    await writeModel(`${file}.part`, model);
    await rename(`${file}.part`, file);
  } catch (error) {
    await rm(`${file}.part`, { force: true });
    throw wrong("out", `${file} cannot be written: ${(error as Error).message}`);
  }
}

/** Before minutes of calibration. Another model's folder would lose what it is; one of the same model gets one more dtype. */
async function requireRoom(from: string, to: string): Promise<void> {
  const found = await stat(to).catch(() => undefined);
  if (found !== undefined && !found.isDirectory())
    throw wrong("out", `${to} is no folder: name a new one`);
  const config = (folder: string): Promise<string | undefined> =>
    readFile(join(folder, "config.json"), "utf8").catch(() => undefined);
  const [own, other] = await Promise.all([config(from), config(to)]);
  if (other !== undefined && other !== own) {
    throw wrong("out", `${to} holds another model (its config.json differs): name a new folder`);
  }
}

/** Everything but the source's own weights, of whatever format; what is linked to (a hub's cache) as files. */
async function copyFolder(from: string, to: string): Promise<void> {
  await mkdir(join(to, "onnx"), { recursive: true });
  const isWeights = (path: string): boolean =>
    relative(from, path)
      .split(sep)
      .some((name) => WEIGHTS.test(name));
  await cp(from, to, { recursive: true, dereference: true, filter: (path) => !isWeights(path) });
}

const WEIGHTS = /\.(?:onnx(?:[._]data.*)?|safetensors|bin|pt|h5|msgpack|ot)$/u;

/** Logits of all documents, null where there is none, and the speed of a single thread on them. */
async function measure(
  folder: string,
  dtype: string,
  requests: readonly CalibrationRequest[],
): Promise<{ logits: (number | null)[][]; pairsPerSecond: number; batchInvariant: boolean }> {
  const reranker = await Reranker.load(folder, {
    dtype,
    device: "cpu",
    threads: 1,
    isSharing: false,
  });
  try {
    const score = async (): Promise<(number | null)[][]> => {
      const all = await Promise.all(requests.map((texts) => reranker.score({ texts })));
      return all.map(({ documents }) =>
        documents.map((document) => (document.state === "scored" ? document.logit : null)),
      );
    };
    const logits = await score();
    const start = performance.now();
    await score();
    const pairsPerSecond = (1000 * logits.flat().length) / (performance.now() - start);
    return { logits, pairsPerSecond, batchInvariant: reranker.facts.batchInvariant === true };
  } finally {
    await reranker.close();
  }
}

function deviation(values: readonly number[]): number {
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
  return Math.sqrt(values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / values.length);
}

interface ComparedPair {
  readonly request: number;
  readonly before: number;
  readonly after: number;
}

/** Of any two documents of one query, the share that stand in the same order; of a query with one, there are none. */
function sameOrder(pairs: readonly ComparedPair[]): number | undefined {
  let [same, all] = [0, 0];
  for (const [i, one] of pairs.entries()) {
    for (const other of pairs.slice(i + 1)) {
      if (one.request !== other.request || one.before === other.before) continue;
      all++;
      if (one.before < other.before === one.after < other.after) same++;
    }
  }
  return all === 0 ? undefined : same / all;
}

function describe(report: {
  out: string;
  dtype: string;
  layers: number;
  bytes: { before: number; after: number };
  pairsPerSecond: { before: number; after: number };
  batchInvariant: boolean;
  heldOut: {
    pairs: number;
    meanDifference: number;
    largestDifference: number;
    spread: number;
    orderKept: number | undefined;
  };
}): string {
  const { bytes, pairsPerSecond, heldOut } = report;
  const mib = (size: number): string => `${(size / 2 ** 20).toFixed(1)} MiB`;
  const rows = [
    ["size", mib(bytes.before), mib(bytes.after)],
    ["pairs/s, one thread", pairsPerSecond.before.toFixed(0), pairsPerSecond.after.toFixed(0)],
  ];
  return [
    table(["", "fp32", report.dtype], rows),
    "",
    `${report.layers} layers quantised; batch invariant: ${report.batchInvariant ? "yes" : "no"}`,
    `on ${heldOut.pairs} held-out pairs a logit moves by ${heldOut.meanDifference.toPrecision(2)} in the mean and ${heldOut.largestDifference.toPrecision(2)} at most (their spread is ${heldOut.spread.toPrecision(2)});`,
    ...(heldOut.orderKept === undefined
      ? []
      : [
          `of two documents of one query ${(100 * heldOut.orderKept).toFixed(1)} % keep their order`,
        ]),
    `${report.out} is ready: rankfleet worker --model ${report.out}`,
  ].join("\n");
}

function wrong(field: string, message: string): CoreError {
  return new CoreError("invalid_input", `${field}: ${message}`, { field });
}
