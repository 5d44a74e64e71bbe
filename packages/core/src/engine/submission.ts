import type { TokenBatch } from "../batch/pack.ts";
import type { WaitingPair } from "../batch/pair-queue.ts";
import type { CoreFailure } from "../errors.ts";
import type { EncodedPairs } from "../tokenize/pairs.ts";
import { Deferred } from "./deferred.ts";
import { isSamePair } from "./pair-identity.ts";

/** What became of a request's pairs, in their order. */
export interface PairScores {
  /** NaN for a pair that failed. */
  readonly logits: Float64Array;
  /** Why, by the pair's place. */
  readonly failures: ReadonlyMap<number, CoreFailure>;
}

export interface SubmitOptions {
  /**
   * 0 is the most urgent. A batch of a lane from 0 to 2 holds no pairs of other lanes, and overtakes those that lie ready.
   * Default 3.
   */
  readonly lane?: number | undefined;
  /**
   * Milliseconds since 1970, by this process's clock: within its lane, what has less than a second left goes first. It
   * does not end the request; that is the signal's business.
   */
  readonly deadline?: number | undefined;
  readonly signal?: AbortSignal | undefined;
  /** Handed back in the report of every batch that holds a pair of this request. */
  readonly tag?: unknown;
}

export const DEFAULT_LANE = 3;

/** One request's pairs until the last of them is scored. */
export class Submission {
  readonly pairs: EncodedPairs;
  readonly lane: number;
  readonly deadline: number | undefined;
  readonly tag: unknown;
  readonly #logits: Float64Array;
  readonly #failures = new Map<number, CoreFailure>();
  readonly #signal: AbortSignal | undefined;
  readonly #done = new Deferred<PairScores>();
  readonly #onAbort = (): void => {
    this.reject(this.#signal?.reason);
    this.#onAbandon();
  };
  readonly #onAbandon: () => void;
  #remaining: number;

  /** @param onAbandon Told when the caller has given up, so that waiting pairs can go. */
  constructor(pairs: EncodedPairs, options: SubmitOptions, onAbandon: () => void) {
    this.pairs = pairs;
    this.lane = options.lane ?? DEFAULT_LANE;
    this.deadline = options.deadline;
    this.tag = options.tag;
    this.#remaining = pairs.offsets.length - 1;
    this.#logits = new Float64Array(this.#remaining).fill(Number.NaN);
    this.#onAbandon = onAbandon;
    this.#signal = options.signal;
    if (this.#remaining === 0) this.#resolve();
    else if (this.#signal?.aborted) this.reject(this.#signal.reason);
    else this.#signal?.addEventListener("abort", this.#onAbort, { once: true });
  }

  get done(): Promise<PairScores> {
    return this.#done.promise;
  }

  get isSettled(): boolean {
    return this.#remaining === 0;
  }

  settle(index: number, logit: number): void {
    if (this.isSettled) return;
    this.#logits[index] = logit;
    if (--this.#remaining === 0) this.#resolve();
  }

  fail(index: number, failure: CoreFailure): void {
    if (this.isSettled) return;
    this.#failures.set(index, failure);
    if (--this.#remaining === 0) this.#resolve();
  }

  #resolve(): void {
    this.#signal?.removeEventListener("abort", this.#onAbort);
    this.#done.resolve({ logits: this.#logits, failures: this.#failures });
  }

  reject(reason: unknown): void {
    this.#remaining = 0;
    this.#signal?.removeEventListener("abort", this.#onAbort);
    this.#done.reject(reason);
  }
}

/** One forward-pass row of a request, and of every other request that waits for the same sequence. */
export class QueuedPair implements WaitingPair {
  readonly submission: Submission;
  readonly index: number;
  readonly tokens: number;
  /** Where `EqualPairs` keeps this pair. */
  nextInChain: QueuedPair | undefined;
  #twins: QueuedPair[] | undefined;
  #logit: number | undefined;

  constructor(submission: Submission, index: number) {
    this.submission = submission;
    this.index = index;
    this.tokens = submission.pairs.offsets[index + 1]! - submission.pairs.offsets[index]!;
    this.nextInChain = undefined;
  }

  get lane(): number {
    return this.submission.lane;
  }

  get deadline(): number | undefined {
    return this.submission.deadline;
  }

  /** Whether it comes up no later than the other would. */
  #isNoLessUrgentThan({ lane, deadline = Infinity }: QueuedPair): boolean {
    return this.lane <= lane && (this.deadline ?? Infinity) <= deadline;
  }

  /** Equal for equal pairs; undefined if they are not to be shared. */
  get hash(): number | undefined {
    return this.submission.pairs.hashes?.[this.index];
  }

  /** Adds the tag of every request that waits for this pair. */
  collectTags(tags: Set<unknown>): void {
    if (this.submission.tag !== undefined) tags.add(this.submission.tag);
    if (this.#twins !== undefined) for (const twin of this.#twins) twin.collectTags(tags);
  }

  /**
   * Lets another request's pair share this one's forward pass, or its score if that is known, should they be equal. A bulk
   * pair may have to wait for long, so an urgent one does not lean on it.
   */
  takes(twin: QueuedPair): boolean {
    if (this.#logit === undefined && (!this.#isNoLessUrgentThan(twin) || this.isAbandoned()))
      return false;
    if (!isSamePair(this.submission.pairs, this.index, twin.submission.pairs, twin.index))
      return false;
    if (this.#logit === undefined) (this.#twins ??= []).push(twin);
    else twin.settle(this.#logit);
    return true;
  }

  isAbandoned(): boolean {
    if (!this.submission.isSettled) return false;
    return this.#twins === undefined || this.#twins.every((twin) => twin.isAbandoned());
  }

  settle(logit: number): void {
    this.#logit = logit;
    this.submission.settle(this.index, logit);
    if (this.#twins !== undefined) for (const twin of this.#twins) twin.settle(logit);
    // Whoever remembers this pair need not keep their requests.
    this.#twins = undefined;
  }

  fail(failure: CoreFailure): void {
    this.submission.fail(this.index, failure);
    if (this.#twins !== undefined) for (const twin of this.#twins) twin.fail(failure);
  }

  /** Fails every request that waits for this pair. */
  reject(reason: unknown): void {
    this.submission.reject(reason);
    if (this.#twins !== undefined) for (const twin of this.#twins) twin.reject(reason);
  }
}

/** The pairs' sequences end to end: one copy, into arrays that then move to the device's thread. */
export function toBatch(pairs: readonly QueuedPair[]): TokenBatch {
  const ids = new Int32Array(pairs.reduce((sum, { tokens }) => sum + tokens, 0));
  const offsets = new Int32Array(pairs.length + 1);
  const secondStarts = new Int32Array(pairs.length);
  let end = 0;
  for (let row = 0; row < pairs.length; row++) {
    const { submission, index } = pairs[row]!;
    const { pairs: source } = submission;
    // One by one: a window onto the source for each pair would cost more than its few dozen tokens.
    const to = source.offsets[index + 1]!;
    for (let from = source.offsets[index]!; from < to; from++) ids[end++] = source.ids[from]!;
    offsets[row + 1] = end;
    secondStarts[row] = source.secondStarts[index]!;
  }
  return { ids, offsets, secondStarts };
}
