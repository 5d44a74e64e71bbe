import type { TokenBatch } from "../batch/pack.ts";
import { PairQueue, type WaitingPair } from "../batch/pair-queue.ts";
import { CoreError, toFailure, type CoreFailure } from "../errors.ts";
import type { EncodedPairs } from "../tokenize/pairs.ts";
import { Deferred } from "./deferred.ts";
import type { Device } from "./device.ts";

/**
 * Pairs of many requests in, logits out: fills the devices with batches from one {@link PairQueue}.
 *
 * Each device has up to {@link BATCHES_PER_DEVICE} batches under way, so that the next one already
 * lies in its thread when a forward pass ends. A batch that throws is halved until the pair that
 * cannot be scored stands alone; only that pair fails.
 */
export class Batcher {
  readonly #queue = new PairQueue<QueuedPair>();
  readonly #devices: readonly Device[];
  /** Largest batch, padding included. */
  readonly maxBatchTokens: number;
  readonly #onBatch: (report: BatchReport) => void;

  constructor(
    devices: readonly Device[],
    options: { maxBatchTokens: number; onBatch: (report: BatchReport) => void },
  ) {
    this.#devices = devices;
    this.maxBatchTokens = options.maxBatchTokens;
    this.#onBatch = options.onBatch;
  }

  get waitingPairs(): number {
    return this.#queue.size;
  }

  get waitingTokens(): number {
    return this.#queue.tokens;
  }

  /**
   * Scores all pairs, each in whatever batch suits it.
   *
   * @returns A logit or a failure for each pair, in order.
   * @throws the signal's reason once it aborts; CoreError `engine_crashed` if a device's thread dies.
   */
  score(pairs: EncodedPairs, options: SubmitOptions): Promise<PairOutcome[]> {
    const count = pairs.offsets.length - 1;
    if (count === 0) return Promise.resolve([]);
    const submission = new Submission(pairs, count, options);
    for (let index = 0; index < count; index++) this.#queue.add(new QueuedPair(submission, index));
    this.#fillDevices();
    return submission.done;
  }

  #fillDevices(): void {
    for (;;) {
      const device = this.#devices.reduce((a, b) => (b.inFlight < a.inFlight ? b : a));
      if (device.inFlight >= BATCHES_PER_DEVICE) return;
      const batch = this.#queue.take(this.#budget());
      if (batch.length === 0) return;
      void this.#run(device, batch).finally(() => this.#fillDevices());
    }
  }

  /** A full batch, or less when so little waits that idle devices should share it. */
  #budget(): number {
    const idle = this.#devices.filter((device) => device.inFlight === 0).length;
    const share = Math.ceil(this.#queue.tokens / Math.max(1, idle));
    return Math.min(this.maxBatchTokens, Math.max(share, MIN_BATCH_TOKENS));
  }

  async #run(device: Device, pairs: readonly QueuedPair[]): Promise<void> {
    const startedAt = Date.now();
    try {
      const { logits, durationMs } = await device.run(toBatch(pairs));
      this.#onBatch(report(device, pairs, startedAt, durationMs));
      pairs.forEach((pair, row) => pair.settle(toOutcome(logits[row]!)));
    } catch (error) {
      if (CoreError.isInstance(error) && error.code === "engine_crashed") {
        for (const pair of pairs) pair.submission.reject(error);
      } else if (pairs.length === 1) {
        pairs[0]!.settle({ failure: toFailure(error, "inference_failed") });
      } else {
        const half = Math.ceil(pairs.length / 2);
        await Promise.all([
          this.#run(device, pairs.slice(0, half)),
          this.#run(device, pairs.slice(half)),
        ]);
      }
    }
  }
}

export type PairOutcome = { readonly logit: number } | { readonly failure: CoreFailure };

export interface SubmitOptions {
  /** 0 is the most urgent. Default 1. */
  readonly lane?: number | undefined;
  readonly signal?: AbortSignal | undefined;
  /** Handed back in the report of every batch that holds a pair of this request. */
  readonly tag?: unknown;
}

/** One forward pass that succeeded. */
export interface BatchReport {
  readonly device: string;
  readonly rows: number;
  /** Tokens of the longest row. */
  readonly length: number;
  readonly realTokens: number;
  /** rows × length. */
  readonly paddedTokens: number;
  readonly startedAt: number;
  readonly durationMs: number;
  /** The tags of the requests in this batch, each once. */
  readonly tags: readonly unknown[];
}

const BATCHES_PER_DEVICE = 2;
const MIN_BATCH_TOKENS = 512;

function toOutcome(logit: number): PairOutcome {
  if (Number.isFinite(logit)) return { logit };
  return {
    failure: { code: "score_not_finite", message: `the model answered ${logit} for this pair` },
  };
}

function toBatch(pairs: readonly QueuedPair[]): TokenBatch {
  const offsets = new Int32Array(pairs.length + 1);
  pairs.forEach((pair, row) => (offsets[row + 1] = offsets[row]! + pair.tokens));
  const ids = new Int32Array(offsets[pairs.length]!);
  const secondStarts = new Int32Array(pairs.length);
  pairs.forEach(({ submission, index }, row) => {
    const from = submission.pairs.offsets[index]!;
    ids.set(submission.pairs.ids.subarray(from, submission.pairs.offsets[index + 1]), offsets[row]);
    secondStarts[row] = submission.pairs.secondStarts[index]!;
  });
  return { ids, offsets, secondStarts };
}

function report(
  device: Device,
  pairs: readonly QueuedPair[],
  startedAt: number,
  durationMs: number,
): BatchReport {
  const length = Math.max(...pairs.map((pair) => pair.tokens));
  return {
    device: device.name,
    rows: pairs.length,
    length,
    realTokens: pairs.reduce((sum, pair) => sum + pair.tokens, 0),
    paddedTokens: pairs.length * length,
    startedAt,
    durationMs,
    tags: [...new Set(pairs.map((pair) => pair.submission.tag).filter((tag) => tag !== undefined))],
  };
}

/** One request's pairs until the last of them is scored. */
class Submission {
  readonly pairs: EncodedPairs;
  readonly lane: number;
  readonly tag: unknown;
  readonly #outcomes: PairOutcome[];
  readonly #signal: AbortSignal | undefined;
  readonly #done = new Deferred<PairOutcome[]>();
  readonly #onAbort = (): void => this.reject(this.#signal?.reason);
  #remaining: number;

  constructor(pairs: EncodedPairs, count: number, options: SubmitOptions) {
    this.pairs = pairs;
    this.lane = options.lane ?? 1;
    this.tag = options.tag;
    this.#outcomes = Array.from<PairOutcome>({ length: count });
    this.#remaining = count;
    this.#signal = options.signal;
    if (this.#signal?.aborted) this.#onAbort();
    else this.#signal?.addEventListener("abort", this.#onAbort, { once: true });
  }

  get done(): Promise<PairOutcome[]> {
    return this.#done.promise;
  }

  get isSettled(): boolean {
    return this.#remaining === 0;
  }

  settle(index: number, outcome: PairOutcome): void {
    if (this.isSettled) return;
    this.#outcomes[index] = outcome;
    if (--this.#remaining > 0) return;
    this.#signal?.removeEventListener("abort", this.#onAbort);
    this.#done.resolve(this.#outcomes);
  }

  reject(reason: unknown): void {
    this.#remaining = 0;
    this.#signal?.removeEventListener("abort", this.#onAbort);
    this.#done.reject(reason);
  }
}

class QueuedPair implements WaitingPair {
  readonly submission: Submission;
  readonly index: number;
  readonly tokens: number;

  constructor(submission: Submission, index: number) {
    this.submission = submission;
    this.index = index;
    this.tokens = submission.pairs.offsets[index + 1]! - submission.pairs.offsets[index]!;
  }

  get lane(): number {
    return this.submission.lane;
  }

  isAbandoned(): boolean {
    return this.submission.isSettled;
  }

  settle(outcome: PairOutcome): void {
    this.submission.settle(this.index, outcome);
  }
}
