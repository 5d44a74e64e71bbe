import { performance } from "node:perf_hooks";
import type { Reranker } from "@rankfleet/core";
import { JobConsumer, type Delivery, type RedisClock } from "@rankfleet/queue";
import {
  InvalidRequestError,
  parseJob,
  type JobEnvelope,
  type Keys,
  type RankfleetError,
} from "@rankfleet/queue/contract";
import type { Log, Metrics } from "@rankfleet/service";
import type { Redis } from "ioredis";
import { Intake } from "./intake.ts";
import { scoreJob } from "./score-job.ts";
import { Settlement } from "./settlement.ts";
import { traceJob } from "./spans.ts";
import { TimeLimit } from "./time-limit.ts";
import { jobError } from "./verdict.ts";

/**
 * One model's jobs on this worker: takes them, has them scored, settles each.
 *
 *     taken → parsed → (stands already? deadline over?) → scored → settled, or handed to the next
 *                 │                                                  model's queue (cascade)
 *                 └────────── failed for good ────────────────┘        or tried again
 *
 * Many jobs are in hand at once, so that the reranker can mix their pairs.
 */
export class ModelWorker {
  readonly #options: ModelWorkerOptions;
  /** Of the queue in which bulk and standard jobs stand. */
  readonly #consumer: JobConsumer;
  readonly #urgent: JobConsumer;
  readonly #settlement: Settlement;
  readonly #intake: Intake;
  #jobsInHand = 0;

  constructor(options: ModelWorkerOptions) {
    this.#options = options;
    const { reranker } = options;
    const { firstStageWeight } = reranker.facts;
    this.#settlement = new Settlement({ ...options, firstStageWeight });
    this.#intake = new Intake({
      tokensPerRound: reranker.maxBatchTokens * reranker.devices.length,
      get tokensPerMs() {
        return reranker.tokensPerMs;
      },
    });
    const queues = options.keys.model(options.model);
    this.#consumer = this.#consume(queues.queue("standard"), this.#intake.jobs);
    // Hands of their own: what this worker has in hand of the other lanes must not make these wait.
    this.#urgent = this.#consume(queues.queue("interactive"), URGENT_JOBS);
  }

  #consume(queue: string, concurrency: number): JobConsumer {
    const { redis, keys, log } = this.#options;
    return new JobConsumer({
      redis,
      keys,
      queue,
      concurrency,
      handle: (delivery) => this.#handle(delivery),
      onGivenUp: async ({ jobId, data, reason }) => {
        await this.#settlement.givenUp(jobId, data, reason);
        log.error({ job: jobId, reason }, "job given up by the queue");
      },
      onError: (err) => log.warn({ err }, "queue connection"),
    });
  }

  get jobsInHand(): number {
    return this.#jobsInHand;
  }

  /** Takes no more jobs and finishes those in hand; `isForced` leaves them to be taken over. */
  async close(isForced = false): Promise<void> {
    await Promise.all([this.#consumer.close(isForced), this.#urgent.close(isForced)]);
    await this.#settlement.close();
  }

  async #handle(delivery: Delivery): Promise<void> {
    const start = performance.now();
    let job: JobEnvelope | undefined;
    let outcome: Outcome = "failed";
    this.#jobsInHand++;
    try {
      job = this.#parse(delivery);
      outcome = await this.#scoreAndSettle(delivery, job);
    } catch (cause) {
      const error = jobError(cause);
      if (isCrash(cause)) this.#options.onCrash(error);
      const isFinal = !error.isRetryable || delivery.isLastAttempt;
      this.#options.log.warn(
        { job: delivery.jobId, code: error.code, field: error.field, isFinal, err: error },
        "job failed",
      );
      if (!isFinal) throw error;
      await this.#settlement.failed(delivery, job, error.toFailure());
      throw error;
    } finally {
      this.#jobsInHand--;
      this.#record(job, outcome, performance.now() - start);
    }
  }

  #parse({ data }: Delivery): JobEnvelope {
    const job = parseJob(data);
    if (job.model === this.#options.model) return job;
    const message = `is "${job.model}", but the job stands in the queue of "${this.#options.model}"`;
    throw new InvalidRequestError([{ field: "model", message }]);
  }

  async #scoreAndSettle(delivery: Delivery, job: JobEnvelope): Promise<Outcome> {
    const { model, redis, reranker, clock, log, metrics } = this.#options;
    if (await this.#settlement.stands(delivery, job)) return "duplicate";
    metrics.queueWait.record(Math.max(0, clock.now() - job.enqueuedAt) / 1000, {
      model,
      lane: job.lane,
    });
    return traceJob(delivery.jobId, job, async (tag) => {
      const limit = new TimeLimit(job.deadline, clock, delivery.signal);
      try {
        const now = (): number => clock.now();
        const { record, texts, tokens, cached } = await scoreJob(job, {
          reranker,
          redis,
          now,
          signal: limit.signal,
          tag,
        });
        const { characters } = job;
        this.#consumer.concurrency = this.#intake.after({ tokens, characters });
        if (cached > 0) metrics.pairsCached.add(cached, { model });
        const outcome = await this.#settlement.completed(delivery, job, record, texts);
        this.#countDocuments(record.logits.length - Object.keys(record.failures).length, record);
        metrics.tokenizeDuration.record(record.timings.tokenizeMs / 1000, { model });
        log.debug(
          { job: delivery.jobId, outcome, documents: job.documents, ...record.timings },
          "job settled",
        );
        return outcome === "written"
          ? "completed"
          : outcome === "lost_lock"
            ? "lost_lock"
            : "duplicate";
      } finally {
        limit.clear();
      }
    });
  }

  #record(job: JobEnvelope | undefined, outcome: Outcome, durationMs: number): void {
    const labels = { model: this.#options.model, lane: job?.lane ?? "unknown" };
    this.#options.metrics.jobs.add(1, { ...labels, outcome });
    this.#options.metrics.jobDuration.record(durationMs / 1000, labels);
  }

  #countDocuments(
    scored: number,
    record: { truncated: readonly number[]; failures: object },
  ): void {
    const { model, metrics } = this.#options;
    metrics.documents.add(scored - record.truncated.length, { model, outcome: "scored" });
    metrics.documents.add(record.truncated.length, { model, outcome: "truncated" });
    metrics.documents.add(Object.keys(record.failures).length, { model, outcome: "failed" });
  }
}

export interface ModelWorkerOptions {
  readonly model: string;
  readonly reranker: Reranker;
  readonly redis: Redis;
  readonly keys: Keys;
  readonly clock: RedisClock;
  readonly log: Log;
  readonly metrics: Metrics;
  /** A thread of the reranker died: nothing more can be scored in this process. */
  onCrash(error: RankfleetError): void;
}

/** Interactive jobs in hand: they are small, and few. */
const URGENT_JOBS = 32;

type Outcome = "completed" | "failed" | "lost_lock" | "duplicate";

function isCrash(error: unknown): boolean {
  return (
    typeof error === "object" &&
    error !== null &&
    "code" in error &&
    error.code === "engine_crashed"
  );
}
