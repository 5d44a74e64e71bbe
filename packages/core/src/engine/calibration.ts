import { kneeTokens, squaresBeforeFall, type CostSample } from "../batch/cost.ts";
import type { TokenBatch } from "../batch/pack.ts";
import type { EncodedRequest } from "../tokenize/pairs.ts";
import { CALIBRATION_DOCUMENTS, CALIBRATION_QUERY, wordsFor } from "./calibration-texts.ts";
import { CoreError } from "../errors.ts";
import type { Device } from "./device.ts";
import type { ScoreRequest } from "./request.ts";

/** What was measured of a model on a device, with every session of this process at work. */
export interface Calibration {
  /** Sessions side by side, each with so many threads. */
  readonly split: CoreSplit;
  /** Time of one forward pass by its shape. */
  readonly samples: readonly CostSample[];
  /** The smallest batch, in padded tokens, at 95 % of the best tokens per second. */
  readonly kneeTokens: number;
  /** Most rows · length² of a batch, on a device that is many times slower beyond; else absent. */
  readonly maxSquares?: number;
  /** Resident memory that the largest batch needed, by its padded tokens. */
  readonly bytesPerToken: number;
  /** ISO 8601. */
  readonly measuredAt: string;
}

export interface CoreSplit {
  readonly sessions: number;
  readonly intraOpThreads: number;
}

/** Tokenises on the tokenising thread. */
export type Encode = (request: ScoreRequest) => Promise<EncodedRequest>;

/** Times a grid of (rows, length), short batches first, for at most {@link BUDGET_MS}. */
export async function calibrate(
  devices: readonly Device[],
  split: CoreSplit,
  encode: Encode,
  maxTokens: number,
): Promise<Calibration> {
  const sequences: Int32Array[] = [];
  const lengths = LENGTHS.filter((length) => length <= maxTokens);
  for (const length of lengths.length > 0 ? lengths : [maxTokens]) {
    sequences.push(await sequenceOf(length, encode));
  }
  const isOnCpu = devices[0]!.name === "cpu";
  const shapes = sequences
    .flatMap((ids) => (isOnCpu ? CPU_ROWS : GPU_ROWS).map((rows) => ({ ids, rows })))
    .toSorted((a, b) => a.rows * a.ids.length - b.rows * b.ids.length);
  await timePasses(devices, sequences[0]!, 1, WARM_UP_MS);
  const samples: CostSample[] = [];
  const end = performance.now() + BUDGET_MS;
  const rssBefore = process.memoryUsage.rss();
  let slowest = 0;
  let largest = 1;
  for (const { ids, rows } of shapes) {
    const tokens = rows * ids.length;
    const expectedMs = slowest * tokens;
    if (samples.length > 0 && (expectedMs > LONGEST_PASS_MS || performance.now() > end)) continue;
    let ms: number;
    try {
      // A GPU's first pass of a shape compiles what runs it.
      if (!isOnCpu) await timePasses(devices, ids, rows, 0);
      ms = await timePasses(devices, ids, rows, SAMPLE_MS);
    } catch (error) {
      // Too large for the device's memory: what is smaller has been measured, and the rest is larger still.
      const isCrash = CoreError.isInstance(error) && error.code === "engine_crashed";
      if (isCrash || samples.length === 0) throw error;
      break;
    }
    samples.push({ rows, length: ids.length, ms });
    slowest = Math.max(slowest * 0.5, ms / tokens);
    largest = Math.max(largest, tokens);
  }
  const maxSquares = isOnCpu ? Infinity : squaresBeforeFall(samples);
  const within = samples.filter(({ rows, length }) => rows * length * length <= maxSquares);
  return {
    split,
    samples: within,
    kneeTokens: kneeTokens(within),
    ...(maxSquares < Infinity && { maxSquares }),
    bytesPerToken: Math.max(0, Math.round((process.memoryUsage.rss() - rssBefore) / largest)),
    measuredAt: new Date().toISOString(),
  };
}

/** Tokens per millisecond of a split of the cores, on passages of ordinary length. */
export async function speedOf(devices: readonly Device[], encode: Encode): Promise<number> {
  const ids = await sequenceOf(128, encode);
  await timePasses(devices, ids, 4, WARM_UP_MS);
  return (devices.length * 4 * ids.length) / (await timePasses(devices, ids, 4, SPLIT_MS));
}

/** The ways to cut cores into sessions × threads that are worth a try. */
export function coreSplits(threads: number): CoreSplit[] {
  const sessions = [...new Set([threads, Math.ceil(threads / 2), 1])];
  return sessions.map((count) => ({
    sessions: count,
    intraOpThreads: Math.max(1, Math.floor(threads / count)),
  }));
}

/** What a model answers for the calibration pairs, and whether the other pairs of a batch change that. */
export interface Probe {
  /** A logit for each of the calibration documents, each scored alone. */
  readonly reference: readonly number[];
  /** The largest difference that a batch with padding makes to one of them. 0: batch invariant. */
  readonly deviation: number;
  /**
   * Where the deviation comes from. `rounding`: of float32 sums. `shape`: a GPU chooses its arithmetic by a batch's shape,
   * so scores differ, but not between batches of one shape. `company`: of a dynamically quantised file, whose scores
   * change with the other pairs of a batch and with its padding.
   */
  readonly deviatesBy: "rounding" | "shape" | "company";
  /** A batch of the first of these pairs, to see later whether a device is still well. */
  readonly harmless: () => TokenBatch;
}

/** The calibration pairs as tokens: work for the tokenising thread while the devices open. */
export async function probeRows(encode: Encode): Promise<Row[]> {
  const texts = { query: CALIBRATION_QUERY, documents: CALIBRATION_DOCUMENTS };
  const { pairs } = await encode({ texts });
  return CALIBRATION_DOCUMENTS.map((_, pair) => ({
    ids: pairs.ids.subarray(pairs.offsets[pair], pairs.offsets[pair + 1]),
    secondStart: pairs.secondStarts[pair]!,
  }));
}

/**
 * Scores the calibration pairs alone and in company.
 *
 * @param isDynamic Whether the graph quantises dynamically: for these few pairs company may happen to change nothing.
 * @throws CoreError `model_unsupported` if the model answers what is no number: nobody could serve it.
 */
export async function probe(
  device: Device,
  rows: readonly Row[],
  isDynamic: () => Promise<boolean>,
): Promise<Probe> {
  const alone = await Promise.all(rows.map((row) => device.run(batchOf([row]))));
  const reference = alone.map(({ logits }) => logits[0]!);
  const odd = reference.find((logit) => !Number.isFinite(logit));
  if (odd !== undefined) {
    const message = `answers ${odd} for an ordinary pair on ${device.name}: are these weights too narrow for the model (fp16 overflows at 65,504)?`;
    throw new CoreError("model_unsupported", message, { field: "model" });
  }
  const { logits } = await device.run(batchOf(rows));
  const deviation = Math.max(...reference.map((logit, row) => Math.abs(logit - logits[row]!)));
  const harmless = (): TokenBatch => batchOf([rows[0]!]);
  if (isRounding(deviation, reference)) {
    return { reference, deviation, deviatesBy: "rounding", harmless };
  }
  const byCompany = await deviationByCompany(device, rows);
  const isCompany = !isRounding(byCompany, reference) || (await isDynamic());
  return { reference, deviation, deviatesBy: isCompany ? "company" : "shape", harmless };
}

/**
 * Differences of 10⁻⁵ of a logit are the order of float32 sums, which vector units choose by an array's length. A file
 * quantised dynamically differs by thousandths: one scale for the whole batch, padding included.
 */
function isRounding(difference: number, reference: readonly number[]): boolean {
  return difference <= 1e-5 * (1 + Math.max(...reference.map(Math.abs)));
}

/** The shortest pair beside one as long as the longest, of the words of each of the others in turn. */
async function deviationByCompany(device: Device, rows: readonly Row[]): Promise<number> {
  const byLength = rows.toSorted((a, b) => a.ids.length - b.ids.length);
  const [shortest, longest] = [byLength[0]!, byLength.at(-1)!];
  const logits: number[] = [];
  for (const row of rows) {
    const company = { ...longest, ids: inTheWordsOf(row, longest) };
    logits.push((await device.run(batchOf([shortest, company]))).logits[0]!);
  }
  return Math.max(...logits) - Math.min(...logits);
}

/** The longest pair's tokens, but those of its document are the other's, again and again. */
function inTheWordsOf({ ids, secondStart }: Row, longest: Row): Int32Array {
  const words = ids.subarray(secondStart, -1);
  return longest.ids.map((id, at) =>
    at < longest.secondStart || at === longest.ids.length - 1
      ? id
      : words[(at - longest.secondStart) % words.length]!,
  );
}

const LENGTHS = [16, 64, 128, 256, 504];
const CPU_ROWS = [1, 2, 4, 8, 16, 32];
const GPU_ROWS = [1, 4, 16, 64, 128, 256];
/** A calibration is cached, but its first worker waits for it. */
const BUDGET_MS = 4000;
const LONGEST_PASS_MS = 400;
const SAMPLE_MS = 40;
const SPLIT_MS = 300;
const WARM_UP_MS = 30;

/** One pair of about `length` tokens. */
async function sequenceOf(length: number, encode: Encode): Promise<Int32Array> {
  const texts = { query: CALIBRATION_QUERY.slice(0, 30), documents: [wordsFor(length)] };
  const { pairs } = await encode({ texts, maxTokensPerDocument: Math.max(1, length - 8) });
  return pairs.ids;
}

/** Milliseconds of a pass, while every device has one under way and one ready. */
async function timePasses(
  devices: readonly Device[],
  ids: Int32Array,
  rows: number,
  atLeastMs: number,
): Promise<number> {
  const start = performance.now();
  const end = start + atLeastMs;
  let passes = 0;
  const feed = async (device: Device): Promise<void> => {
    do {
      await device.run(batchOf(Array.from({ length: rows }, () => ({ ids, secondStart: 4 }))));
      passes++;
    } while (performance.now() < end);
  };
  await Promise.all(devices.flatMap((device) => [feed(device), feed(device)]));
  return ((performance.now() - start) * devices.length) / passes;
}

/** A pair's tokens. */
export interface Row {
  readonly ids: Int32Array;
  readonly secondStart: number;
}

function batchOf(rows: readonly Row[]): TokenBatch {
  const offsets = new Int32Array(rows.length + 1);
  rows.forEach(({ ids }, row) => (offsets[row + 1] = offsets[row]! + ids.length));
  const all = new Int32Array(offsets[rows.length]!);
  rows.forEach(({ ids }, row) => all.set(ids, offsets[row]));
  return { ids: all, offsets, secondStarts: Int32Array.from(rows, (row) => row.secondStart) };
}
