import { UnrecoverableError, Worker, type Job } from "bullmq";
import type { Redis } from "ioredis";
import { RankfleetError, type Keys } from "./contract/index.ts";

/**
 * Takes jobs from one of a model's queues and keeps them leased while they are worked on.
 *
 * `handle` settles a job by writing its result record; only then does it return, and the queue forgets
 * the job. If it throws an error that cannot get better, the job goes to the failed ones, which are
 * the dead letters; any other error has it tried again.
 */
export class JobConsumer {
  readonly #worker: Worker;

  constructor(options: ConsumerOptions) {
    const { redis, keys, queue } = options;
    // Exactly three plain parameters: BullMQ makes the signal only if the function's length is 3.
    const process = async (
      job: Job,
      token: string | undefined,
      signal: AbortSignal | undefined,
    ): Promise<void> => {
      await deliver(options, job, token, signal);
    };
    this.#worker = new Worker(queue, process, {
      connection: redis,
      prefix: keys.prefix,
      concurrency: options.concurrency,
      lockDuration: LOCK_MS,
      stalledInterval: STALLED_CHECK_MS,
      maxStalledCount: MAX_STALLS,
      drainDelay: 5,
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
      void options.onGivenUp({ jobId: job.id, data: job.data as unknown, reason: error.message });
    });
  }

  /** How many jobs may be in hand at once; may be changed at any time. */
  set concurrency(jobs: number) {
    this.#worker.concurrency = Math.max(1, Math.round(jobs));
  }

  /** Takes no more jobs and waits for those in hand; `isForced` leaves them to be taken over. */
  async close(isForced = false): Promise<void> {
    await this.#worker.close(isForced);
  }
}

export interface ConsumerOptions {
  readonly redis: Redis;
  readonly keys: Keys;
  /** One of `keys.model(id).queues`. */
  readonly queue: string;
  readonly concurrency: number;
  handle(delivery: Delivery): Promise<void>;
  /** The queue failed a job that `handle` never finished. */
  onGivenUp(job: { jobId: string; data: unknown; reason: string }): Promise<void>;
  onError(error: Error): void;
}

/** A job in hand. */
export interface Delivery {
  readonly jobId: string;
  readonly queue: string;
  /** Proves that this attempt holds the lease. */
  readonly token: string;
  /** As found in the queue: anybody may have put it there. */
  readonly data: unknown;
  /** An earlier attempt was begun, so its result may already stand. */
  readonly isRedelivery: boolean;
  readonly isLastAttempt: boolean;
  /** Aborts when the lease is lost. */
  readonly signal: AbortSignal | undefined;
}

/** A killed worker's jobs are taken over after at most LOCK_MS + STALLED_CHECK_MS. */
const LOCK_MS = 6_000;
const STALLED_CHECK_MS = 3_000;
const MAX_STALLS = 5;
const HANDLED = "[handled] ";

async function deliver(
  options: ConsumerOptions,
  job: Job,
  token: string | undefined,
  signal: AbortSignal | undefined,
): Promise<void> {
  if (job.id === undefined || token === undefined) throw new Error("bug: a job without id or lock");
  try {
    await options.handle({
      jobId: job.id,
      queue: options.queue,
      token,
      data: job.data as unknown,
      isRedelivery: job.attemptsStarted > 1 || job.stalledCounter > 0,
      isLastAttempt: job.attemptsMade + 1 >= (job.opts.attempts ?? 1),
      signal,
    });
  } catch (error) {
    if (RankfleetError.isInstance(error) && !error.isRetryable) {
      throw new UnrecoverableError(`${HANDLED}${error.code}: ${error.message}`);
    }
    throw error;
  }
}
