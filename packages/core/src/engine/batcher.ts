import { CostModel, predictMs } from "../batch/cost.ts";
import { PairQueue } from "../batch/pair-queue.ts";
import { CoreError, toFailure } from "../errors.ts";
import type { EncodedPairs } from "../tokenize/pairs.ts";
import type { Device } from "./device.ts";
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
 * Each device has at least two batches under way and some milliseconds of work beside the one that
 * computes, so that the next one already lies in its thread when a forward pass ends. Equal sequences of requests that wait at the same time
 * are one pair. A batch that throws is halved until the pair that cannot be scored stands alone; only
 * that pair fails.
 */
export class Batcher {
  readonly #queue = new PairQueue<QueuedPair>();
  readonly #byHash = new Map<number, QueuedPair>();
  readonly #devices: readonly Device[];
  readonly #cost: CostModel;
  readonly #budget: TokenBudget;
  readonly #maxPadding: number;
  readonly #onBatch: (report: BatchReport) => void;
  #shared = 0;
  #ended = 0;
  #endedBefore = 0;
  #meanBatchMs = READY_MS;
  #meanLength = 128;

  constructor(devices: readonly Device[], options: BatcherOptions) {
    this.#devices = devices;
    this.#cost = options.cost;
    this.#budget = new TokenBudget(options.maxBatchTokens);
    this.#maxPadding = options.maxPadding;
    this.#onBatch = options.onBatch;
  }

  get waitingPairs(): number {
    return this.#queue.size;
  }

  /** Pairs that needed no forward pass of their own, since an equal one was waiting. */
  get sharedPairs(): number {
    return this.#shared;
  }

  /** Whether batches are under way and none has ended since this was last asked. */
  isStuck(): boolean {
    const isStuck =
      this.#ended === this.#endedBefore && this.#devices.some((device) => device.inFlight > 0);
    this.#endedBefore = this.#ended;
    return isStuck;
  }

  /** Tokens that the devices are through with in a millisecond, by what batches have cost lately. */
  get tokensPerMs(): number {
    const length = Math.max(1, Math.round(this.#meanLength));
    const rows = Math.max(1, Math.floor(this.#budget.tokens / length));
    return (this.#devices.length * rows * length) / predictMs(this.#cost.cost, rows, length);
  }

  /**
   * Scores all pairs, each in whatever batch suits it.
   *
   * @throws the signal's reason once it aborts; CoreError `engine_crashed` if a device's thread dies.
   */
  score(pairs: EncodedPairs, options: SubmitOptions): Promise<PairScores> {
    const submission = new Submission(pairs, options, () => {
      for (const pair of this.#queue.dropAbandoned()) this.#forget(pair);
    });
    const count = pairs.offsets.length - 1;
    for (let index = 0; index < count; index++) this.#add(new QueuedPair(submission, index));
    this.#fillDevices();
    return submission.done;
  }

  #add(pair: QueuedPair): void {
    if (pair.submission.isSettled) return;
    const { hash } = pair;
    if (hash === undefined) return this.#queue.add(pair);
    const twin = this.#byHash.get(hash);
    // A bulk pair may be waiting for long, so an urgent one does not lean on it.
    const isFit = twin !== undefined && twin.lane <= pair.lane && !twin.isAbandoned();
    if (isFit && twin.isSameAs(pair)) {
      twin.share(pair);
      this.#shared++;
      return;
    }
    this.#byHash.set(hash, pair);
    this.#queue.add(pair);
  }

  #fillDevices(): void {
    for (;;) {
      // A batch overtakes less urgent ones that lie ready in the device's thread, so it need not wait here for them.
      const lane = this.#queue.firstLane;
      const ahead = (each: Device): number => each.inFlightUpTo(lane);
      const device = this.#devices.reduce((a, b) => (ahead(b) < ahead(a) ? b : a));
      if (ahead(device) >= this.#batchesAhead) return;
      const batch = this.#queue.take({
        cost: this.#cost.cost,
        maxTokens: this.#share(),
        maxPadding: this.#maxPadding,
      });
      if (batch.length === 0) return;
      void this.#run(device, batch).finally(() => this.#fillDevices());
    }
  }

  /** A full batch, or less when so little waits that idle devices should share it. */
  #share(): number {
    const idle = this.#devices.filter((device) => device.inFlight === 0).length;
    if (idle <= 1) return this.#budget.tokens;
    const share = Math.ceil(this.#queue.tokens / idle);
    return Math.min(this.#budget.tokens, Math.max(share, MIN_SHARE_TOKENS));
  }

  async #run(device: Device, pairs: readonly QueuedPair[]): Promise<void> {
    const startedAt = Date.now();
    try {
      const { logits, durationMs } = await device.run(toBatch(pairs), mostUrgent(pairs));
      this.#ended++;
      this.#learn(pairs, durationMs);
      this.#onBatch(report(device, pairs, startedAt, durationMs));
      for (let row = 0; row < pairs.length; row++) this.#settle(pairs[row]!, logits[row]!);
    } catch (error) {
      if (CoreError.isInstance(error) && error.code === "engine_crashed") {
        for (const pair of pairs) pair.reject(error);
      } else if (pairs.length === 1) {
        this.#forget(pairs[0]!);
        pairs[0]!.fail(toFailure(error, "inference_failed"));
      } else {
        this.#budget.failed(paddedTokens(pairs));
        const half = Math.ceil(pairs.length / 2);
        await Promise.all([
          this.#run(device, pairs.slice(0, half)),
          this.#run(device, pairs.slice(half)),
        ]);
      }
    }
  }

  #settle(pair: QueuedPair, logit: number): void {
    this.#forget(pair);
    if (Number.isFinite(logit)) return pair.settle(logit);
    const message = `the model answered ${logit} for this pair`;
    pair.fail({ code: "score_not_finite", message });
  }

  /** Whoever comes with the same pair now has it scored anew. */
  #forget(pair: QueuedPair): void {
    const { hash } = pair;
    if (hash !== undefined && this.#byHash.get(hash) === pair) this.#byHash.delete(hash);
  }

  /** Short batches need more of them ready: a collection of garbage here takes some milliseconds too. */
  get #batchesAhead(): number {
    const batches = 1 + Math.ceil(READY_MS / Math.max(0.1, this.#meanBatchMs));
    return Math.min(MOST_BATCHES_AHEAD, Math.max(2, batches));
  }

  #learn(pairs: readonly QueuedPair[], ms: number): void {
    this.#budget.succeeded();
    const length = longest(pairs);
    this.#meanBatchMs += 0.1 * (ms - this.#meanBatchMs);
    this.#meanLength += 0.1 * (length - this.#meanLength);
    this.#cost.observe({ rows: pairs.length, length, ms });
  }
}

export interface BatcherOptions {
  readonly cost: CostModel;
  /** Largest batch, padding included. */
  readonly maxBatchTokens: number;
  /** Largest share of a batch that may be padding, 0 … 1. */
  readonly maxPadding: number;
  readonly onBatch: (report: BatchReport) => void;
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

const READY_MS = 15;
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
