import { CostModel, predictMs } from "../batch/cost.ts";
import { PairQueue } from "../batch/pair-queue.ts";
import { rowsOf } from "../batch/plan.ts";
import { CoreError, toFailure } from "../errors.ts";
import type { TokenBatch } from "../batch/pack.ts";
import { WORTH_A_MESSAGE_MS } from "./batch-limits.ts";
import type { EncodedPairs } from "../tokenize/pairs.ts";
import type { Device } from "./device.ts";
import { EqualPairs } from "./equal-pairs.ts";
import type { InferReply } from "./infer-thread.ts";
import { Pace } from "./pace.ts";
import {
  QueuedPair,
  Submission,
  toBatch,
  type PairScores,
  type SubmitOptions,
} from "./submission.ts";
import { TokenBudget } from "./token-budget.ts";

/**
 * Pairs of many requests in, logits out: fills the devices with batches from one {@link PairQueue}.
 *
 * Each device has at least two batches under way, and some milliseconds of work beside the one that it
 * computes, so that the next one already lies in its thread when a forward pass ends. Equal pairs of requests that
 * wait at the same time are scored once ({@link EqualPairs}). A batch that throws is halved until the pair that cannot
 * be scored stands alone; only that pair fails.
 */
export class Batcher {
  readonly #queue = new PairQueue<QueuedPair>();
  readonly #equal: EqualPairs;
  readonly #devices: readonly Device[];
  readonly #cost: CostModel;
  readonly #budget: TokenBudget;
  readonly #enoughTokens: number;
  readonly #maxPadding: number;
  readonly #maxSquares: number | undefined;
  readonly #onBatch: (report: BatchReport) => void;
  readonly #harmless: () => TokenBatch;
  readonly #pace = new Pace(READY_MS);
  #willFill = false;

  constructor(devices: readonly Device[], options: BatcherOptions) {
    this.#devices = devices;
    this.#cost = options.cost;
    this.#budget = new TokenBudget(options.maxBatchTokens);
    this.#enoughTokens = options.enoughTokens ?? options.maxBatchTokens;
    this.#maxPadding = options.maxPadding;
    this.#maxSquares = options.maxSquares;
    this.#onBatch = options.onBatch;
    this.#harmless = options.harmless;
    this.#equal = new EqualPairs(options);
  }

  get waitingPairs(): number {
    return this.#queue.size;
  }

  /** Of the waiting pairs, without padding. */
  get waitingTokens(): number {
    return this.#queue.tokens;
  }

  /** Pairs that needed no forward pass of their own, since an equal one was waiting or had just been scored. */
  get sharedPairs(): number {
    return this.#equal.shared;
  }

  /** Whether a device has not answered for many times as long as its batches should take. */
  get isStuck(): boolean {
    return this.#devices.some((device) => device.isSilent);
  }

  /** Padded tokens that all devices get through in a millisecond, by what batches have cost lately. */
  get tokensPerMs(): number {
    return this.#devices.length * this.#speed;
  }

  /** Of one device, in full batches of pairs as long as those of late. */
  get #speed(): number {
    const { length, slowness } = this.#pace;
    const rows = rowsOf({ maxTokens: this.#budget.tokens, maxSquares: this.#maxSquares }, length);
    return (rows * length) / (slowness * predictMs(this.#cost.cost, rows, length));
  }

  /**
   * Scores all pairs, each in whatever batch suits it.
   *
   * @throws the signal's reason once it aborts; CoreError `engine_crashed` if a device's thread dies.
   */
  score(pairs: EncodedPairs, options: SubmitOptions): Promise<PairScores> {
    const submission = new Submission(pairs, options, () => {
      for (const pair of this.#queue.dropAbandoned()) this.#equal.forget(pair);
    });
    const count = pairs.offsets.length - 1;
    for (let index = 0; index < count; index++) this.#add(new QueuedPair(submission, index));
    this.#fillSoon();
    return submission.done;
  }

  #add(pair: QueuedPair): void {
    if (pair.submission.isSettled) return;
    if (!this.#equal.share(pair)) this.#queue.add(pair);
  }

  /** Once all that has come in this turn of the event loop is in the queue: a batch can choose from more then. */
  #fillSoon(): void {
    if (this.#willFill) return;
    this.#willFill = true;
    process.nextTick(() => {
      this.#willFill = false;
      this.#fillDevices();
    });
  }

  #fillDevices(): void {
    for (;;) {
      // A batch overtakes less urgent ones that lie ready in the device's thread, so it need not wait here for them.
      const lane = this.#queue.firstLane;
      const ahead = (each: Device): number => (each.isDead ? Infinity : each.inFlightUpTo(lane));
      const device = this.#devices.reduce((a, b) => (ahead(b) < ahead(a) ? b : a));
      // If all are dead, each says so.
      if (ahead(device) >= this.#batchesAhead && !device.isDead) return;
      const batch = this.#queue.take({
        cost: this.#cost.cost,
        maxTokens: this.#share(),
        maxSquares: this.#maxSquares,
        maxPadding: this.#maxPadding,
        now: Date.now(),
      });
      if (batch.length === 0) return;
      void this.#run(device, batch).finally(() => this.#fillSoon());
    }
  }

  /** A full batch, or less when so little waits that idle devices should share it. */
  #share(): number {
    const idle = this.#devices.filter((device) => device.inFlight === 0).length;
    if (idle <= 1) return this.#fullTokens;
    const share = Math.ceil(this.#queue.tokens / idle);
    return Math.min(this.#fullTokens, Math.max(share, MIN_SHARE_TOKENS));
  }

  /** What is worth a message by the speed of late: a calibration may have met other lengths, or a faster machine. */
  get #fullTokens(): number {
    const worth = Math.round(WORTH_A_MESSAGE_MS * this.#speed);
    return Math.min(this.#budget.tokens, Math.max(this.#enoughTokens, worth));
  }

  /** @returns whether the device got through it in one pass. */
  async #run(device: Device, pairs: readonly QueuedPair[]): Promise<boolean> {
    const startedAt = Date.now();
    const expectedMs = predictMs(this.#cost.cost, pairs.length, longest(pairs));
    let reply: InferReply;
    try {
      const lane = mostUrgent(pairs);
      reply = await device.run(toBatch(pairs), { lane, expectedMs });
    } catch (error) {
      await this.#runHalves(device, pairs, error);
      return false;
    }
    const { logits, durationMs } = reply;
    this.#learn(pairs, { ms: durationMs, expectedMs });
    const done = report(device, pairs, startedAt, durationMs);
    const odd: QueuedPair[] = [];
    for (let row = 0; row < pairs.length; row++) {
      if (Number.isFinite(logits[row])) this.#settle(pairs[row]!, logits[row]!);
      else odd.push(pairs[row]!);
    }
    this.#onBatch(done);
    for (const pair of odd) await this.#judge(device, pair);
    return true;
  }

  async #runHalves(device: Device, pairs: readonly QueuedPair[], error: unknown): Promise<void> {
    if (CoreError.isInstance(error) && error.code === "engine_crashed") {
      for (const pair of pairs) pair.reject(error);
      return;
    }
    if (pairs.length === 1) return this.#judge(device, pairs[0]!);
    const half = Math.ceil(pairs.length / 2);
    const passed = await Promise.all([
      this.#run(device, pairs.slice(0, half)),
      this.#run(device, pairs.slice(half)),
    ]);
    // Else one of the pairs is to blame, and not how many they were.
    if (passed.every(Boolean)) this.#budget.failed(paddedTokens(pairs));
  }

  #settle(pair: QueuedPair, logit: number): void {
    pair.settle(logit);
    this.#equal.scored(pair);
  }

  /**
   * A pair failed by itself. Is it the pair, or is the device sick? If it fails on a pair too that it has scored before,
   * nothing can be said of this one, and this process can score no more; else the pair has one more try.
   */
  async #judge(device: Device, pair: QueuedPair): Promise<void> {
    const expectedMs = predictMs(this.#cost.cost, 1, pair.tokens);
    try {
      const { logits } = await device.run(this.#harmless(), { lane: pair.lane, expectedMs });
      if (!Number.isFinite(logits[0])) throw new Error(`it answers ${logits[0]}`);
    } catch (cause) {
      const why = cause instanceof Error ? cause.message : String(cause);
      const message = `the device fails on a pair that it has scored before: ${why}`;
      return pair.reject(new CoreError("engine_crashed", message, { cause }));
    }
    try {
      const { logits } = await device.run(toBatch([pair]), { lane: pair.lane, expectedMs });
      if (Number.isFinite(logits[0])) return this.#settle(pair, logits[0]!);
      const message = `the model answered ${logits[0]} for this pair`;
      pair.fail({ code: "score_not_finite", message });
    } catch (error) {
      if (CoreError.isInstance(error) && error.code === "engine_crashed") return pair.reject(error);
      pair.fail(toFailure(error, "inference_failed"));
    }
    this.#equal.forget(pair);
  }

  /** Short batches need more of them ready. */
  get #batchesAhead(): number {
    const batches = 1 + Math.ceil(READY_MS / Math.max(0.1, this.#pace.batchMs));
    return Math.min(MOST_BATCHES_AHEAD, Math.max(2, batches));
  }

  #learn(pairs: readonly QueuedPair[], took: { ms: number; expectedMs: number }): void {
    this.#budget.succeeded();
    const length = longest(pairs);
    this.#pace.observe({ length, ...took });
    this.#cost.observe({ rows: pairs.length, length, ms: took.ms });
  }
}

export interface BatcherOptions {
  readonly cost: CostModel;
  /** Largest batch, padding included. */
  readonly maxBatchTokens: number;
  /** Larger ones must not last longer than {@link WORTH_A_MESSAGE_MS} by what is measured; default: `maxBatchTokens`. */
  readonly enoughTokens?: number | undefined;
  /** Most rows · length² of a batch; default: no bound. */
  readonly maxSquares?: number | undefined;
  /** Largest share of a batch that may be padding, 0 … 1. */
  readonly maxPadding: number;
  readonly onBatch: (report: BatchReport) => void;
  /** Whether a pair may have the score that an equal one got a moment ago. */
  readonly remembersScored: boolean;
  /** A batch of one pair that the model has scored when it was loaded. */
  readonly harmless: () => TokenBatch;
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

/**
 * Of batches beside the one that computes: for so long this thread may be kept from its core, by a collection of garbage or by
 * others' work. (16 workers of a simulated device on two cores: their devices work for 84 % of the time with 25 ms, for 98 % with 60.)
 */
const READY_MS = 60;
const MOST_BATCHES_AHEAD = 8;
/** Less is not worth a message to another thread. */
const MIN_SHARE_TOKENS = 128;

function mostUrgent(pairs: readonly QueuedPair[]): number {
  return pairs.reduce((first, { lane }) => Math.min(first, lane), Infinity);
}

function longest(pairs: readonly QueuedPair[]): number {
  return pairs.reduce((most, { tokens }) => Math.max(most, tokens), 0);
}

function paddedTokens(pairs: readonly QueuedPair[]): number {
  return pairs.length * longest(pairs);
}

function report(
  device: Device,
  pairs: readonly QueuedPair[],
  startedAt: number,
  durationMs: number,
): BatchReport {
  const length = longest(pairs);
  const tags = new Set<unknown>();
  let realTokens = 0;
  for (const pair of pairs) {
    pair.collectTags(tags);
    realTokens += pair.tokens;
  }
  return {
    device: device.name,
    rows: pairs.length,
    length,
    realTokens,
    paddedTokens: pairs.length * length,
    startedAt,
    durationMs,
    tags: [...tags],
  };
}
