import type { Redis } from "ioredis";
import { Backlog, type Refusal } from "./backlog.ts";
import { fromRedisError } from "./connection.ts";
import {
  BackpressureError,
  CLAIM_THRESHOLD_BYTES,
  encodeTexts,
  homeOf,
  partId,
  partsOf,
  type JobEnvelope,
  type Keys,
  type Lane,
  type TextRange,
} from "./contract/index.ts";
import { JobQueues } from "./job-queues.ts";
import { PartStore } from "./part-store.ts";
import { drainMs, ModelRegistry } from "./registry.ts";
import { Repeats } from "./repeats.ts";
import { Replication } from "./replication.ts";
import { DEAD_LETTER_TTL_MS, isDeadLetter, ResultStore } from "./result-store.ts";
import { writeTo, type Write } from "./write.ts";

/** Puts jobs into the queues of their models. */
export class JobProducer {
  readonly #redis: Redis;
  readonly #keys: Keys;
  readonly #parts: PartStore;
  readonly #backlog: Backlog;
  readonly #registry: ModelRegistry;
  readonly #replication: Replication;
  readonly #write: Write;
  readonly #queues: JobQueues;
  readonly #repeats: Repeats;
  readonly #results: ResultStore;

  constructor(redis: Redis, keys: Keys) {
    this.#redis = redis;
    this.#keys = keys;
    this.#parts = new PartStore(redis, keys);
    this.#backlog = new Backlog(redis, keys);
    this.#registry = new ModelRegistry(redis, keys);
    this.#replication = Replication.of(redis);
    this.#write = writeTo(redis);
    this.#queues = new JobQueues(redis, keys);
    this.#repeats = new Repeats(redis, keys, this.#queues);
    this.#results = new ResultStore(redis, keys);
  }

  /**
   * Adds a job; the promise settles once Redis has it, and where there are replicas one of them too. The
   * same id again is the same job.
   *
   * @param jobId If the envelope has a digest, the id that is made of the request's idempotency key.
   * @param options.isContinuation The next stage of a job that was accepted before: not a new request
   *   that might be a repeat.
   * @returns under which id it stands, and whether it stood there already.
   * @throws InvalidRequestError `idempotency_conflict` if the id stands for another request;
   *   BackpressureError if the backlog has no room for it, or Redis is full; RedisUnavailableError.
   */
  async add(
    jobId: string,
    envelope: Omit<JobEnvelope, "payload">,
    texts: TextsOfJob,
    { isContinuation = false }: { readonly isContinuation?: boolean } = {},
  ): Promise<AddedJob> {
    const { base } = this.#keys.model(envelope.model);
    const isKeyed = envelope.digest !== undefined && !isContinuation;
    const ranges = partsOf(texts.documents);
    let added: AddedJob | undefined;
    let mayBeThere = isKeyed || isContinuation;
    try {
      await this.#replication.confirm(base, async () => {
        const found = isKeyed
          ? await this.#repeats.find(jobId, envelope, ranges.length)
          : { jobId, isRepeat: false };
        if (!found.isRepeat) {
          await this.#add(found.jobId, envelope, texts, ranges, isContinuation);
          // A large one is in workers' hands while it is still being queued.
          if (mayBeThere || ranges.length > 1) {
            await this.#freeLate(found.jobId, envelope, ranges.length);
          }
          mayBeThere = true;
        }
        // Once more, it finds what it has added itself.
        if (added?.jobId !== found.jobId) added = found;
      });
      return added!;
    } catch (error) {
      throw fromRedisError(error);
    }
  }

  async #add(
    jobId: string,
    envelope: Omit<JobEnvelope, "payload">,
    texts: TextsOfJob,
    ranges: readonly TextRange[],
    isContinuation: boolean,
  ): Promise<void> {
    const keys = this.#keys.model(envelope.model);
    const mayGoAhead = ranges.length === 1 && envelope.digest === undefined;
    if (mayGoAhead && this.#backlog.takeIdle(envelope.model, !isContinuation)) {
      // One round trip instead of two: where nothing is queued there is room, and the job is the first anyway.
      const place = { queue: keys.queue(envelope.lane), priority: 1 };
      const [admitted] = await Promise.all([
        this.#backlog.admitAtOnce(jobId, envelope, !isContinuation),
        this.#enqueue(jobId, envelope, texts, place),
      ]);
      if (!("bound" in admitted)) return;
      // Others came first, and there is no room: the job is taken out again. If a worker has it in hand by now it is
      // scored all the same, uncounted.
      const queue = this.#queues.named(place.queue);
      const isThere = (await this.#redis.exists(queue.toKey(jobId))) === 1;
      if (!isThere || (await queue.remove(jobId)) === 0) return;
      await this.#redis.del(keys.payload(jobId));
      throw await this.#noRoom(envelope, admitted);
    }
    const admitted = await this.#backlog.admit(jobId, envelope, !isContinuation);
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

  /**
   * Repeated, a job or a part of it may have been met in a worker's hand, which the queue then takes for this one; and it may
   * have ended there since, its texts freed, so that nobody else would free these.
   */
  async #freeLate(
    jobId: string,
    envelope: Omit<JobEnvelope, "payload">,
    parts: number,
  ): Promise<void> {
    const { model } = envelope;
    const record = await this.#results.read(homeOf(envelope), jobId);
    // A dead letter's texts are kept; and while there is none, whoever writes the record frees them.
    const hasEnded = record !== undefined && !isDeadLetter(record);
    if (parts === 1 && hasEnded) await this.#redis.del(this.#keys.model(model).payload(jobId));
    if (parts > 1) await this.#parts.freeLate(model, jobId, { of: parts, hasEnded });
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
      await this.#write(payload.claim, ["set", encoded.gzip, "PX", PAYLOAD_TTL_MS]);
    }
    await this.#queues.named(queue).add(
      "rerank",
      { payload, ...envelope },
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
    const ms = drainMs(share * size.bytes, rate);
    const etaMs = ms === undefined ? undefined : Math.ceil(ms);
    const when =
      etaMs === undefined ? "no worker is alive" : `room in about ${(etaMs / 1000).toFixed(1)} s`;
    return new BackpressureError(
      "backpressure",
      `the backlog of "${job.model}" is full: ${queued} of at most ${most} ${bound} are queued (${when}); wait, start more workers, or raise it with rankfleet queue limits`,
      { field: "documents", etaMs },
    );
  }

  async close(): Promise<void> {
    await this.#queues.close();
  }
}

export interface AddedJob {
  readonly jobId: string;
  readonly isRepeat: boolean;
}

interface TextsOfJob {
  readonly query: string;
  readonly documents: readonly string[];
}

/** A BullMQ queue, and the priority there: 1 first. (0 would be served before everything, from another list.) */
interface PlaceInLine {
  readonly queue: string;
  readonly priority: number;
}

const EXPRESS_PRIORITIES: Readonly<Record<Lane, number>> = { interactive: 1, standard: 2, bulk: 3 };
/** How often a job is tried whose worker fails; a killed worker spends none. */
const ATTEMPTS = 3;
/** A week: a backlog of a long weekend keeps its texts. */
const PAYLOAD_TTL_MS = 7 * 24 * 3600 * 1000;
