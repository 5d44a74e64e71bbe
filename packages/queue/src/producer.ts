import { setTimeout as sleep } from "node:timers/promises";
import { Queue } from "bullmq";
import type { Redis } from "ioredis";
import { Backlog, type Refusal } from "./backlog.ts";
import { fromRedisError } from "./connection.ts";
import {
  BackpressureError,
  CLAIM_THRESHOLD_BYTES,
  encodeTexts,
  homeOf,
  idempotencyConflict,
  parseResult,
  partId,
  partsOf,
  type JobEnvelope,
  type Keys,
  type Lane,
  type ResultRecord,
  type TextRange,
} from "./contract/index.ts";
import { PartStore } from "./part-store.ts";
import { ModelRegistry } from "./registry.ts";
import { Replication } from "./replication.ts";
import { DEAD_LETTER_TTL_MS } from "./result-store.ts";

/** Puts jobs into the queues of their models. */
export class JobProducer {
  readonly #redis: Redis;
  readonly #keys: Keys;
  readonly #parts: PartStore;
  readonly #backlog: Backlog;
  readonly #registry: ModelRegistry;
  readonly #replication: Replication;
  readonly #queues = new Map<string, Queue>();

  constructor(redis: Redis, keys: Keys) {
    this.#redis = redis;
    this.#keys = keys;
    this.#parts = new PartStore(redis, keys);
    this.#backlog = new Backlog(redis, keys);
    this.#registry = new ModelRegistry(redis, keys);
    this.#replication = new Replication(redis);
  }

  /**
   * Adds a job; the promise settles once Redis has it, and where there are replicas one of them too. The
   * same id again is the same job.
   *
   * @param options.isContinuation The next stage of a job that was accepted before: not a new request
   *   that might be a repeat.
   * @throws InvalidRequestError `idempotency_conflict` if the id stands for another request;
   *   BackpressureError if the backlog has no room for it, or Redis is full; RedisUnavailableError.
   */
  async add(
    jobId: string,
    envelope: Omit<JobEnvelope, "payload">,
    texts: TextsOfJob,
    { isContinuation = false }: { readonly isContinuation?: boolean } = {},
  ): Promise<void> {
    const { base } = this.#keys.model(envelope.model);
    try {
      await this.#replication.confirm(base, () =>
        this.#add(jobId, envelope, texts, isContinuation),
      );
    } catch (error) {
      throw fromRedisError(error);
    }
  }

  async #add(
    jobId: string,
    envelope: Omit<JobEnvelope, "payload">,
    texts: TextsOfJob,
    isContinuation: boolean,
  ): Promise<void> {
    const mayBeRepeat = envelope.digest !== undefined && !isContinuation;
    if (mayBeRepeat && (await this.#isRepeat(jobId, envelope))) return;
    const ranges = partsOf(texts.documents);
    const admitting = this.#backlog.admit(jobId, envelope, !isContinuation);
    const keys = this.#keys.model(envelope.model);
    const hasNoRival = envelope.digest === undefined;
    if (ranges.length === 1 && hasNoRival && this.#backlog.takeIdle(envelope.model)) {
      // One way to Redis instead of two: where nobody waits there is room, and an order of one.
      const place = { queue: keys.queue(envelope.lane), priority: 1 };
      await Promise.all([admitting, this.#enqueue(jobId, envelope, texts, place)]);
      return;
    }
    const admitted = await admitting;
    if ("bound" in admitted) throw await this.#noRoom(envelope, admitted);
    const inLine = { queue: keys.queue(envelope.lane), priority: admitted.priority };
    if (ranges.length > 1) await this.#enqueueParts(jobId, envelope, texts, ranges, inLine);
    else if (!admitted.isNext) await this.#enqueue(jobId, envelope, texts, inLine);
    else {
      const priority = EXPRESS_PRIORITIES[envelope.lane];
      await this.#enqueue(jobId, envelope, texts, { queue: keys.express, priority });
    }
  }

  /** An enqueue that fails half way is repaired by repeating it: ids are the same, and so is the job. */
  async #enqueueParts(
    jobId: string,
    envelope: Omit<JobEnvelope, "payload">,
    { query, documents }: TextsOfJob,
    ranges: readonly TextRange[],
    place: PlaceInLine,
  ): Promise<void> {
    await this.#parts.begin(envelope.model, jobId, ranges.length, envelope.digest);
    for (const [index, { from, to }] of ranges.entries()) {
      const part = { job: jobId, index, of: ranges.length, from, documents: documents.length };
      const texts = documents.slice(from, to);
      const ofPart = {
        ...envelope,
        part,
        documents: texts.length,
        characters: texts.reduce((sum, text) => sum + text.length, 0),
        ids: envelope.ids?.slice(from, to),
        firstStageScores: envelope.firstStageScores?.slice(from, to),
      };
      await this.#enqueue(partId(part), ofPart, { query, documents: texts }, place);
    }
  }

  async #enqueue(
    queueId: string,
    envelope: Omit<JobEnvelope, "payload">,
    texts: TextsOfJob,
    { queue, priority }: PlaceInLine,
  ): Promise<void> {
    const keys = this.#keys.model(envelope.model);
    const encoded = await encodeTexts(texts, CLAIM_THRESHOLD_BYTES);
    let payload: JobEnvelope["payload"];
    if ("json" in encoded) {
      payload = encoded;
    } else {
      // The texts first: a job must never stand in the queue without them. If the job is then not
      // added, its texts expire.
      payload = { claim: keys.payload(queueId) };
      await this.#redis.set(payload.claim, encoded.gzip, "PX", PAYLOAD_TTL_MS);
    }
    await this.#queue(queue).add(
      "rerank",
      { ...envelope, payload },
      {
        jobId: queueId,
        priority,
        attempts: ATTEMPTS,
        // The workers' own: see `JobConsumer`.
        backoff: { type: "custom" },
        // The record is the truth; what is done must not keep its texts in a Redis that is full.
        removeOnComplete: true,
        removeOnFail: { age: DEAD_LETTER_TTL_MS / 1000 },
      },
    );
  }

  /**
   * Where the queues have the job; `unknown` if they have forgotten it. A cascade's stages are asked in
   * their order: a job stands in the next queue before the last one lets go of it.
   */
  async state(models: readonly string[], jobId: string): Promise<QueueState> {
    let ended: QueueState = "unknown";
    for (const model of models) {
      const parts = await this.#parts.find(model, jobId);
      const ids =
        parts === undefined
          ? [jobId]
          : Array.from({ length: parts.of }, (_, index) => partId({ job: jobId, index }));
      for (const id of ids) {
        for (const queue of this.#queuesOf([model])) {
          const state = await queue.getJobState(id);
          if (state === "completed" || state === "failed") ended = state;
          else if (state !== "unknown") return state === "active" ? "active" : "waiting";
        }
      }
    }
    return ended;
  }

  /** Takes a job that waits out of its queue. One that is being scored stays; its result is refused. */
  async remove(models: readonly string[], jobId: string): Promise<void> {
    for (const model of models) {
      const parts = await this.#parts.find(model, jobId);
      const ids = Array.from({ length: parts?.of ?? 0 }, (_, index) =>
        partId({ job: jobId, index }),
      );
      const queues = this.#queuesOf([model]);
      await Promise.all(queues.flatMap((queue) => [jobId, ...ids].map((id) => queue.remove(id))));
      await this.#parts.forget(model, jobId);
    }
  }

  /** Jobs of a model by state. */
  async counts(
    model: string,
  ): Promise<Record<"waiting" | "active" | "delayed" | "failed", number>> {
    const sum = { waiting: 0, active: 0, delayed: 0, failed: 0 };
    for (const queue of this.#queuesOf([model])) {
      const counts = await queue.getJobCounts("wait", "prioritized", "active", "delayed", "failed");
      sum.waiting += (counts["wait"] ?? 0) + (counts["prioritized"] ?? 0);
      sum.active += counts["active"] ?? 0;
      sum.delayed += counts["delayed"] ?? 0;
      sum.failed += counts["failed"] ?? 0;
    }
    return sum;
  }

  /** Tells how long room is off: what is queued beyond the bound, by the fleet's measured speed. */
  async #noRoom(
    job: Pick<JobEnvelope, "model" | "documents" | "characters">,
    { bound, queued, most }: Refusal,
  ): Promise<BackpressureError> {
    const [size, rate] = await Promise.all([
      this.#backlog.queued(job.model),
      this.#registry.rate(job.model),
    ]);
    const adds = bound.endsWith("bytes") ? job.characters : job.documents;
    const share = Math.min(1, Math.max(0, (queued + adds - most) / queued));
    const etaMs =
      rate === undefined
        ? undefined
        : Math.ceil((1000 * share * size.bytes) / (rate.charactersPerToken * rate.tokensPerSecond));
    const when =
      etaMs === undefined ? "no worker is alive" : `room in about ${(etaMs / 1000).toFixed(1)} s`;
    return new BackpressureError(
      "backpressure",
      `the backlog of "${job.model}" is full: ${queued} of at most ${most} ${bound} are queued (${when}); wait, start more workers, or raise it with rankfleet queue limits`,
      { field: "documents", etaMs },
    );
  }

  async close(): Promise<void> {
    await Promise.all([...this.#queues.values()].map((queue) => queue.close()));
  }

  /** Whether the id's job or result is already there, for this very request. */
  async #isRepeat(jobId: string, envelope: Omit<JobEnvelope, "payload">): Promise<boolean> {
    const { model, digest, cascade } = envelope;
    const models = [model, ...(cascade?.next ?? []).map((stage) => stage.model)];
    const key = this.#keys.model(homeOf(envelope)).result(jobId);
    const [json, ...jobs] = await Promise.all([
      this.#redis.get(key),
      ...this.#queuesOf(models).map((queue) => queue.getJob(jobId)),
    ]);
    const record = json === null ? undefined : parseResult(json);
    if (record !== undefined && mayBeMadeAgain(record)) {
      await this.#untilGone(models, jobId);
      await this.#redis.del(key);
      return false;
    }
    const job = jobs.find((each) => each !== undefined);
    const parts = await this.#parts.find(model, jobId);
    const known = (job?.data as { digest?: string } | undefined) ?? record ?? parts;
    if (known === undefined) return false;
    // Of a job in parts some may be missing, if its producer died on the way.
    if (known.digest === digest) return known !== parts;
    throw idempotencyConflict();
  }

  /**
   * The attempt that was cancelled may still be in a worker's hand, which drops it when it sees the record: the record
   * must stay until then, or the new job would be taken for the old one.
   *
   * @throws BackpressureError if it is there for longer than a dead worker's lease.
   */
  async #untilGone(models: readonly string[], jobId: string): Promise<void> {
    for (const end = Date.now() + LONGEST_HOLD_MS; ; await sleep(HOLD_POLL_MS)) {
      await this.remove(models, jobId);
      if ((await this.state(models, jobId)) === "unknown") return;
      if (Date.now() < end) continue;
      throw new BackpressureError(
        "backpressure",
        `the earlier attempt at job ${jobId}, which has ended, is still in a worker's hand; send the request again later`,
        { field: "idempotencyKey" },
      );
    }
  }

  #queuesOf(models: readonly string[]): Queue[] {
    return models.flatMap((model) =>
      this.#keys.model(model).queues.map((name) => this.#queue(name)),
    );
  }

  #queue(name: string): Queue {
    const known = this.#queues.get(name);
    if (known !== undefined) return known;
    const queue = new Queue(name, {
      connection: this.#redis,
      prefix: this.#keys.prefix,
      // Four events a job; nobody here reads them, dashboards want the latest.
      streams: { events: { maxLen: 1000 } },
    });
    queue.on("error", () => {}); // Each command reports its own failure.
    this.#queues.set(name, queue);
    return queue;
  }
}

/** A request that was cancelled, or too late, may be made again under its key. */
function mayBeMadeAgain(record: ResultRecord): boolean {
  return (
    record.state === "cancelled" ||
    (record.state === "failed" && record.failure.code === "deadline_exceeded")
  );
}

interface TextsOfJob {
  readonly query: string;
  readonly documents: readonly string[];
}

export type QueueState = "waiting" | "active" | "completed" | "failed" | "unknown";

/** A BullMQ queue, and the priority there: 1 first. (0 would be served before everything, from another list.) */
interface PlaceInLine {
  readonly queue: string;
  readonly priority: number;
}

const EXPRESS_PRIORITIES: Readonly<Record<Lane, number>> = { interactive: 1, standard: 2, bulk: 3 };
/** Tries that a worker's failure may cost; a killed worker's jobs do not spend them. */
const ATTEMPTS = 3;
/** A killed worker's jobs are free again after its lease and the next look at it. */
const LONGEST_HOLD_MS = 12_000;
const HOLD_POLL_MS = 50;
/** A week: a backlog of a long weekend keeps its texts. */
const PAYLOAD_TTL_MS = 7 * 24 * 3600 * 1000;
