import { Queue } from "bullmq";
import type { Redis } from "ioredis";
import { fromRedisError } from "./connection.ts";
import {
  CLAIM_THRESHOLD_BYTES,
  encodeTexts,
  homeOf,
  InvalidRequestError,
  LANES,
  parseResult,
  type JobEnvelope,
  type Keys,
} from "./contract/index.ts";

/** Puts jobs into the queues of their models. */
export class JobProducer {
  readonly #redis: Redis;
  readonly #keys: Keys;
  readonly #claimThresholdBytes: number;
  readonly #queues = new Map<string, Queue>();

  constructor(
    redis: Redis,
    keys: Keys,
    options: { claimThresholdBytes?: number | undefined } = {},
  ) {
    this.#redis = redis;
    this.#keys = keys;
    this.#claimThresholdBytes = options.claimThresholdBytes ?? CLAIM_THRESHOLD_BYTES;
  }

  /**
   * Adds a job; the promise settles once Redis has it. The same id again is the same job.
   *
   * @param options.isContinuation The next stage of a job that was accepted before: not a new request
   *   that might be a repeat.
   * @throws InvalidRequestError `idempotency_conflict` if the id stands for another request;
   *   BackpressureError if Redis is full; RedisUnavailableError.
   */
  async add(
    jobId: string,
    envelope: Omit<JobEnvelope, "payload">,
    texts: { readonly query: string; readonly documents: readonly string[] },
    { isContinuation = false }: { readonly isContinuation?: boolean } = {},
  ): Promise<void> {
    const keys = this.#keys.model(envelope.model);
    const encoded = await encodeTexts(texts, this.#claimThresholdBytes);
    try {
      const mayBeRepeat = envelope.digest !== undefined && !isContinuation;
      if (mayBeRepeat && (await this.#isRepeat(jobId, envelope))) return;
      let payload: JobEnvelope["payload"];
      if ("json" in encoded) {
        payload = encoded;
      } else {
        // The texts first: a job must never stand in the queue without them. If the job is then not
        // added, its texts expire.
        payload = { claim: keys.payload(jobId) };
        await this.#redis.set(payload.claim, encoded.gzip, "PX", PAYLOAD_TTL_MS);
      }
      await this.#queue(envelope.model).add(
        "rerank",
        { ...envelope, payload },
        {
          jobId,
          // BullMQ serves 0 before everything, so lanes start at 1.
          priority: LANES.indexOf(envelope.lane) + 1,
          attempts: ATTEMPTS,
          backoff: { type: "exponential", delay: 500, jitter: 0.5 },
          removeOnComplete: { age: 600, count: 1000 },
          removeOnFail: { age: 7 * 24 * 3600, count: 10_000 },
        },
      );
    } catch (error) {
      throw fromRedisError(error);
    }
  }

  /**
   * Where the queues have the job; `unknown` if they have forgotten it. A cascade's stages are asked in
   * their order: a job stands in the next queue before the last one lets go of it.
   */
  async state(models: readonly string[], jobId: string): Promise<QueueState> {
    let ended: QueueState = "unknown";
    for (const model of models) {
      const state = await this.#queue(model).getJobState(jobId);
      if (state === "completed" || state === "failed") ended = state;
      else if (state !== "unknown") return state === "active" ? "active" : "waiting";
    }
    return ended;
  }

  /** Takes a job that waits out of its queue. One that is being scored stays; its result is refused. */
  async remove(models: readonly string[], jobId: string): Promise<void> {
    await Promise.all(models.map((model) => this.#queue(model).remove(jobId)));
  }

  /** Jobs of a model by state. */
  async counts(
    model: string,
  ): Promise<Record<"waiting" | "active" | "delayed" | "failed", number>> {
    const counts = await this.#queue(model).getJobCounts(
      "wait",
      "prioritized",
      "active",
      "delayed",
      "failed",
    );
    const { wait = 0, prioritized = 0, active = 0, delayed = 0, failed = 0 } = counts;
    return { waiting: wait + prioritized, active, delayed, failed };
  }

  async close(): Promise<void> {
    await Promise.all([...this.#queues.values()].map((queue) => queue.close()));
  }

  /** Whether the id's job or result is already there, for this very request. */
  async #isRepeat(jobId: string, envelope: Omit<JobEnvelope, "payload">): Promise<boolean> {
    const { model, digest } = envelope;
    const key = this.#keys.model(homeOf(envelope)).result(jobId);
    const [json, job] = await Promise.all([this.#redis.get(key), this.#queue(model).getJob(jobId)]);
    const record = json === null ? undefined : parseResult(json);
    // A cancelled request may be made again.
    if (record?.state === "cancelled") await this.#redis.del(key);
    const known =
      (job?.data as { digest?: string } | undefined) ??
      (record?.state === "cancelled" ? undefined : record);
    if (known === undefined) return false;
    if (known.digest === digest) return true;
    throw new InvalidRequestError(
      [{ field: "idempotencyKey", message: "was used before, for another request; use a new key" }],
      "idempotency_conflict",
    );
  }

  #queue(model: string): Queue {
    const known = this.#queues.get(model);
    if (known !== undefined) return known;
    const queue = new Queue(this.#keys.model(model).queue, {
      connection: this.#redis,
      prefix: this.#keys.prefix,
      // Four events a job; nobody here reads them, dashboards want the latest.
      streams: { events: { maxLen: 1000 } },
    });
    queue.on("error", () => {}); // Each command reports its own failure.
    this.#queues.set(model, queue);
    return queue;
  }
}

export type QueueState = "waiting" | "active" | "completed" | "failed" | "unknown";

/** Tries that a worker's failure may cost; a killed worker's jobs do not spend them. */
const ATTEMPTS = 3;
/** A week: a backlog of a long weekend keeps its texts. */
const PAYLOAD_TTL_MS = 7 * 24 * 3600 * 1000;
