import { setTimeout as sleep } from "node:timers/promises";
import { DelayedError, UnrecoverableError, WaitingError, type Job } from "bullmq";
import type { Redis } from "ioredis";
import { RankfleetError, type Keys } from "./contract/index.ts";
import { OneByOneWorker } from "./one-by-one-worker.ts";
import { writeTo, type Write } from "./write.ts";

/**
 * Takes jobs from one of a model's queues and keeps them leased while they are worked on.
 *
 * `handle` settles a job by writing its result record; only then does it return, and the queue forgets
 * the job. If it throws an error that is not retryable, the job goes to BullMQ's failed ones, which are
 * the dead letters; a {@link Postponed} puts it off without spending an attempt; any other error spends
 * one, and the job is delivered again while it has any left.
 */
export class JobConsumer {
  readonly #worker: OneByOneWorker;
  readonly #options: ConsumerOptions;
  readonly #write: Write;
  #isHandingBack = false;
  /** When the latest of those that were put off here is due. */
  #lastDueAt = -Infinity;

  constructor(options: ConsumerOptions) {
    this.#options = options;
    const { redis, keys, queue } = options;
    this.#write = writeTo(redis);
    // Exactly three plain parameters: BullMQ makes the signal only if the function's length is 3.
    const process = async (
      job: Job,
      token: string | undefined,
      signal: AbortSignal | undefined,
    ): Promise<void> => {
      await this.#deliver(job, token, signal);
    };
    this.#worker = new OneByOneWorker(queue, process, {
      connection: redis,
      prefix: keys.prefix,
      concurrency: options.concurrency,
      lockDuration: LOCK_MS,
      stalledInterval: STALLED_CHECK_MS,
      maxStalledCount: MAX_STALLS,
      drainDelay: 5,
      settings: { backoffStrategy: (attempt) => this.#retryDelay(attempt) },
    });
    this.#worker.on("error", (error) => options.onError(error));
    this.#worker.on("lockRenewalFailed", (ids: string[]) => {
      for (const id of ids) this.#worker.cancelJob(id, "another worker has taken the job over");
    });
    this.#worker.on("failed", (job, error) => {
      // Only what the queue itself gave up without asking `handle`, e.g. after too many stalls.
      if (
        job?.id === undefined ||
        !(error instanceof UnrecoverableError) ||
        error.message.startsWith(HANDLED)
      )
        return;
      options
        .onGivenUp({ jobId: job.id, data: job.data as unknown, reason: error.message })
        .catch((cause: unknown) => options.onError(cause as Error));
    });
  }

  /** How many jobs may be in hand at once; may be changed at any time. */
  set concurrency(jobs: number) {
    this.#worker.concurrency = Math.max(1, Math.round(jobs));
  }

  /** Stops a job if it is in hand here: its signal aborts. */
  cancel(jobId: string, reason: string): void {
    this.#worker.cancelJob(jobId, reason);
  }

  /** Takes no more jobs and waits for those in hand. */
  async close(): Promise<void> {
    await this.#worker.close();
  }

  /** Puts the jobs in hand back into their queue, before all others of their priority, for other workers to take at once. */
  handBack(): void {
    this.#isHandingBack = true;
    this.#worker.cancelAllJobs("handed back");
  }

  /** Half a second, then one, with jitter. */
  #retryDelay(attempt: number): number {
    if (this.#isClockAhead()) return 0;
    return Math.round(RETRY_MS * 2 ** (attempt - 1) * (0.5 + Math.random() / 2));
  }

  /**
   * BullMQ computes by this host's clock until when a job is put off, and other hosts compare that with theirs: a host
   * whose clock is an hour ahead would put a job off for an hour instead of a second.
   */
  #isClockAhead(): boolean {
    return Date.now() - this.#options.now() > MAX_CLOCK_AHEAD_MS;
  }

  async #putOff(
    job: Job,
    token: string,
    { delayMs }: Postponed,
    signal?: AbortSignal,
  ): Promise<never> {
    if (!this.#isClockAhead()) {
      await job.moveToDelayed(this.#dueAt(delayMs), token);
      throw new DelayedError();
    }
    await sleep(delayMs, undefined, signal === undefined ? {} : { signal }).catch(() => {});
    return this.#putBack(job, token);
  }

  /**
   * One after the other: those that are put off go before what has come since, and thousands of them, as when a fleet
   * changes over to another revision than they are pinned to, would all be due again before anything else is taken.
   */
  #dueAt(delayMs: number): number {
    // By a clock that nobody sets: one that was put back would put all off for as long.
    const now = performance.now();
    this.#lastDueAt = Math.max(now + delayMs, this.#lastDueAt + DUE_EVERY_MS);
    return Math.round(Date.now() + this.#lastDueAt - now);
  }

  /** Before all others of its priority; idle workers are told here, since BullMQ does not do so for what is put back. */
  async #putBack(job: Job, token: string): Promise<never> {
    await job.moveToWait(token);
    await this.#write(this.#worker.toKey("marker"), ["zadd", 0, "0"]).catch(() => {});
    throw new WaitingError();
  }

  async #deliver(job: Job, token: string | undefined, signal?: AbortSignal): Promise<void> {
    const { queue } = this.#options;
    if (job.id === undefined || token === undefined)
      throw new Error("bug: a job without id or lock");
    if (this.#isHandingBack) return this.#putBack(job, token);
    const isLastAttempt = job.attemptsMade + 1 >= (job.opts.attempts ?? 1);
    try {
      await this.#options.handle({
        jobId: job.id,
        queue,
        token,
        turn: job.priority,
        data: job.data as unknown,
        deaths: job.stalledCounter,
        isRedelivery: job.attemptsStarted > 1 || job.stalledCounter > 0,
        isLastAttempt,
        signal,
      });
    } catch (error) {
      if (this.#isHandingBack && signal?.aborted === true) {
        return await this.#putBack(job, token);
      }
      if (error instanceof Postponed) return this.#putOff(job, token, error, signal);
      if (RankfleetError.isInstance(error) && (isLastAttempt || !error.isRetryable)) {
        throw new UnrecoverableError(`${HANDLED}${error.code}: ${error.message}`);
      }
      throw error;
    }
  }
}

/** Thrown by `handle`: the job is to be delivered again later, and spends no attempt. */
export class Postponed extends Error {
  readonly delayMs: number;

  constructor(reason: string, delayMs: number) {
    super(reason);
    this.delayMs = delayMs;
  }
}

export interface ConsumerOptions {
  readonly redis: Redis;
  readonly keys: Keys;
  /** One of `keys.model(id).queues`. */
  readonly queue: string;
  readonly concurrency: number;
  /** Redis's time. */
  now(): number;
  handle(delivery: Delivery): Promise<void>;
  /** The queue failed a job that `handle` never finished. */
  onGivenUp(job: { jobId: string; data: unknown; reason: string }): Promise<void>;
  onError(error: Error): void;
}

/** One delivery of a job to this worker: an attempt at it. */
export interface Delivery {
  readonly jobId: string;
  readonly queue: string;
  /** Proves that this attempt holds the lease. */
  readonly token: string;
  /** Its place in the queue's order (`Backlog`): the smallest is first. */
  readonly turn: number;
  /** As found in the queue: anybody may have put it there. */
  readonly data: unknown;
  /** How often a worker died, or lost its lease, with this job in hand. */
  readonly deaths: number;
  /** An earlier attempt was begun, so its result may already stand. */
  readonly isRedelivery: boolean;
  readonly isLastAttempt: boolean;
  /** Aborts when the lease is lost, or the job is cancelled or handed back. */
  readonly signal: AbortSignal | undefined;
}

const RETRY_MS = 500;
const MAX_CLOCK_AHEAD_MS = 1_000;
/** A look costs some tenths of a millisecond: so it is less than a tenth of the time, however many wait. */
const DUE_EVERY_MS = 5;
/** A killed worker's jobs are taken over after at most LOCK_MS + STALLED_CHECK_MS. */
const LOCK_MS = 6_000;
const STALLED_CHECK_MS = 3_000;
/** Without end: a job is not failed because others killed its workers. `deaths` says which jobs to score with care. */
const MAX_STALLS = 1_000_000;
/** What a failed job's reason begins with if `handle` has settled it. */
export const HANDLED = "[handled] ";
