import { kneeTokens, type CostSample } from "../batch/cost.ts";
import type { Calibration, Probe } from "./calibration.ts";

/**
 * The share of a batch that may be padding, 0 … 1. The planner weighs padding against launches, so this is for what it
 * cannot know: on a CPU padding costs more than a cost model of padded tokens says as lengths grow apart. A launch on a
 * GPU costs as much as thousands of tokens (WebGPU on an H200: 5 ms, 5,000 of MiniLM-L6's), so more padding pays there.
 *
 * @param probe Of a file whose scores depend on their company: no padding.
 */
export function maxPadding(device: string, { deviatesBy }: Probe): number {
  if (deviatesBy === "company") return 0;
  return device === "cpu" ? 0.05 : 0.3;
}

/** Until real batches have told more: a launch costs as much as some fifty tokens. */
export const UNMEASURED: readonly CostSample[] = [
  { rows: 1, length: 50, ms: 1 },
  { rows: 10, length: 100, ms: 10.5 },
];

/** Padded tokens of the largest batch, where the user has not said. */
export function defaultBatchTokens(device: string, calibration: Calibration | undefined): number {
  if (calibration === undefined) return device === "cpu" ? 2048 : 32_768;
  const { samples } = calibration;
  const tokensPerMs = Math.max(...samples.map(({ rows, length, ms }) => (rows * length) / ms));
  const worth = Math.min(MOST_WORTH_TOKENS, WORTH_A_MESSAGE_MS * tokensPerMs);
  return Math.max(enoughTokens(device, calibration), Math.round(worth));
}

/** Padded tokens of a batch that need not be smaller, however long it takes. */
export function enoughTokens(device: string, calibration: Calibration | undefined): number {
  if (calibration === undefined) return LEAST_WORTH_TOKENS;
  const { samples, kneeTokens: knee } = calibration;
  const best = device === "cpu" ? kneeTokens(samples, ENOUGH_ON_CPU) : 2 * knee;
  return Math.max(LEAST_WORTH_TOKENS, best);
}

/**
 * On a CPU tokens/s are flat beyond some batch size, so that by noise alone the knee of one model is anything from 500
 * to 2,000 tokens, and larger batches only add padding. Elsewhere they still gain: the knee gives away 5 % of the speed,
 * twice the knee half of it.
 */
const ENOUGH_ON_CPU = 0.9;
/**
 * A launch and a batch's messages between threads cost most of a millisecond, so it should last some milliseconds, but never
 * be so large that an interactive pair would wait long behind it on a slow device, nor much of it be padding. (Box, mixed
 * lengths, 450 ms of work in hand: with 1,536 tokens 1.9 % are padding, with 2,048 2.5 %, and 2 to 3 % more pairs/s.)
 */
export const WORTH_A_MESSAGE_MS = 25;
const LEAST_WORTH_TOKENS = 512;
const MOST_WORTH_TOKENS = 2048;
