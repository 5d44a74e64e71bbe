import { performance } from "node:perf_hooks";
import type { Reranker } from "@rankfleet/core";
import {
  JobConsumer,
  JobProducer,
  ResultStore,
  type Delivery,
  type RedisClock,
  type SettleOutcome,
} from "@rankfleet/queue";
import {
  homeOf,
  InvalidRequestError,
  parseJob,
  PROTOCOL_VERSION,
  RankfleetError,
  type Failure,
  type JobEnvelope,
  type Keys,
  type ResultRecord,
} from "@rankfleet/queue/contract";
import type { Log, Metrics } from "@rankfleet/service";
import type { Redis } from "ioredis";
import { nextStage, wholeRecord } from "./cascade.ts";
import { Intake } from "./intake.ts";
import { scoreJob } from "./score-job.ts";
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
  readonly #store: ResultStore;
  readonly #producer: JobProducer;
  readonly #intake: Intake;
  #jobsInHand = 0;

  constructor(options: ModelWorkerOptions) {
    this.#options = options;
    this.#store = new ResultStore(options.redis, options.keys);
    this.#producer = new JobProducer(options.redis, options.keys);
    const { reranker } = options;
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
      onGivenUp: (job) => this.#settleGivenUp(job),
      onError: (err) => log.warn({ err }, "queue connection"),
    });
  }

  get jobsInHand(): number {
    return this.#jobsInHand;
  }

  /** Takes no more jobs and finishes those in hand; `isForced` leaves them to be taken over. */
  async close(isForced = false): Promise<void> {
    await Promise.all([this.#consumer.close(isForced), this.#urgent.close(isForced)]);
    await this.#producer.close();
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
      await this.#settleFailed(delivery, job, error.toFailure());
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
    // An attempt that died between its record and the queue's leaves nothing to do but forget the job;
    // so does a cascade that was cancelled while it stood in an earlier stage's queue.
    const mayBeSettled = delivery.isRedelivery || job.cascade !== undefined;
    if (mayBeSettled && (await this.#store.read(homeOf(job), delivery.jobId)) !== undefined) {
      return "duplicate";
    }
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
        const isLastStage = (job.cascade?.next.length ?? 0) === 0;
        const outcome = isLastStage
          ? await this.#settle(delivery, job, wholeRecord(job, record))
          : await this.#handOn(delivery, nextStage(job, record, texts!));
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

  #settle(
    { jobId, queue, token }: Delivery,
    job: JobEnvelope,
    record: ResultRecord,
  ): Promise<SettleOutcome> {
    return this.#store.settle(
      {
        model: this.#options.model,
        jobId,
        queue,
        token,
        replyTo: job.replyTo,
        past: job.cascade?.past,
      },
      record,
    );
  }

  /**
   * The job goes on under its own id. If this attempt dies between the two steps, the next one hands on
   * the same job again, which the queue takes for the one it has; so this stage's texts stay until the
   * whole job is settled.
   */
  async #handOn({ jobId }: Delivery, next: ReturnType<typeof nextStage>): Promise<SettleOutcome> {
    await this.#producer.add(jobId, next.job, next.texts, { isContinuation: true });
    return "written";
  }

  async #settleFailed(
    { jobId, queue, token, data }: Delivery,
    job: JobEnvelope | undefined,
    failure: Failure,
  ): Promise<void> {
    const replyTo = job?.replyTo ?? replyToOf(data);
    const record: ResultRecord = {
      v: PROTOCOL_VERSION,
      state: "failed",
      failure,
      digest: job?.digest,
    };
    const { model } = this.#options;
    const home = job === undefined ? model : homeOf(job);
    // A cascade's record lies with another model, where this attempt holds no lock: first come, first kept.
    const past = job?.cascade?.past ?? [];
    if (home === model)
      await this.#store.settle({ model, jobId, queue, token, replyTo, past }, record);
    else {
      const stages = { model: home, past: [...past, model] };
      await this.#store.settleUnlocked({ ...stages, jobId, replyTo }, record);
    }
  }

  async #settleGivenUp({
    jobId,
    data,
    reason,
  }: {
    jobId: string;
    data: unknown;
    reason: string;
  }): Promise<void> {
    const failure: Failure = {
      code: "worker_failed",
      message: `the queue gave the job up: ${reason}`,
    };
    const record: ResultRecord = { v: PROTOCOL_VERSION, state: "failed", failure };
    const home = homeOfUnread(data) ?? this.#options.model;
    await this.#store.settleUnlocked({ model: home, jobId, replyTo: replyToOf(data) }, record);
    this.#options.log.error({ job: jobId, reason }, "job given up by the queue");
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

/** Of a message that is no job, the one field that lets its sender hear of it. */
function replyToOf(data: unknown): string | undefined {
  if (typeof data !== "object" || data === null || !("replyTo" in data)) return undefined;
  return typeof data.replyTo === "string" ? data.replyTo : undefined;
}

/** Where the result of a job that this worker never parsed is looked for. */
function homeOfUnread(data: unknown): string | undefined {
  try {
    return homeOf(parseJob(data));
  } catch {
    return undefined;
  }
}

function isCrash(error: unknown): boolean {
  return (
    typeof error === "object" &&
    error !== null &&
    "code" in error &&
    error.code === "engine_crashed"
  );
}
