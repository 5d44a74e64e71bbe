import type { Redis } from "ioredis";
import { formatResult, parseResult, type Keys, type ResultRecord } from "./contract/index.ts";
import { script, type Script } from "./script.ts";

/**
 * The durable result records. The first record of a job stays: whoever comes later, be it a revived
 * worker or a late cancellation, is told that the job is settled.
 */
export class ResultStore {
  readonly #redis: Redis;
  readonly #keys: Keys;
  readonly #ttlMs: number;
  readonly #settle: Script;
  /** When each producer's stream got its time to live last. */
  readonly #streamsKept = new Map<string, number>();

  constructor(redis: Redis, keys: Keys, options: { ttlMs?: number | undefined } = {}) {
    this.#redis = redis;
    this.#keys = keys;
    this.#ttlMs = options.ttlMs ?? RESULT_TTL_MS;
    this.#settle = script(redis, "rankfleetSettle", { keys: 3, lua: SETTLE_SCRIPT });
  }

  /**
   * Writes the record for the attempt that holds the job's lock, frees the payload, and wakes the
   * producer.
   *
   * @returns `lost_lock` if another attempt may be at work by now: nothing was written.
   */
  async settle(job: SettledJob & Lease, record: ResultRecord): Promise<SettleOutcome> {
    const keys = this.#keys.model(job.model);
    const outcome = await this.#settle(
      keys.lock(job.queue, job.jobId),
      keys.result(job.jobId),
      keys.payload(job.jobId),
      job.token,
      formatResult(record),
      this.#ttlMs,
    );
    if (outcome === LOST_LOCK) return "lost_lock";
    await this.#freePast(job);
    await this.#wake(job);
    return outcome === WRITTEN ? "written" : "already_settled";
  }

  /** Writes the record of a job that no attempt will settle: cancelled, or given up by the queue. */
  async settleUnlocked(job: SettledJob, record: ResultRecord): Promise<SettleOutcome> {
    const keys = this.#keys.model(job.model);
    const written = await this.#redis.set(
      keys.result(job.jobId),
      formatResult(record),
      "PX",
      this.#ttlMs,
      "NX",
    );
    await this.#redis.del(keys.payload(job.jobId));
    await this.#freePast(job);
    await this.#wake(job);
    return written === "OK" ? "written" : "already_settled";
  }

  async read(model: string, jobId: string): Promise<ResultRecord | undefined> {
    const json = await this.#redis.get(this.#keys.model(model).result(jobId));
    return json === null ? undefined : parseResult(json);
  }

  /**
   * The texts of a cascade's earlier stages. Not before there is a record: a stage may be delivered again
   * after it has handed on, and must then find its texts. One key a command: each has a slot of its own.
   */
  async #freePast({ jobId, past = [] }: SettledJob): Promise<void> {
    await Promise.all(past.map((model) => this.#redis.del(this.#keys.model(model).payload(jobId))));
  }

  /** The record is the truth; this only spares the producer the wait for its next poll. */
  async #wake({ jobId, replyTo }: SettledJob): Promise<void> {
    if (replyTo === undefined) return;
    const stream = this.#keys.wake(replyTo);
    const wake = this.#redis.xadd(stream, "MAXLEN", "~", WAKE_STREAM_LENGTH, "*", "job", jobId);
    await Promise.all([wake, this.#keep(stream)]);
  }

  /** Streams of producers that are gone go too. Now and then is enough. */
  async #keep(stream: string): Promise<void> {
    const now = Date.now();
    if (now - (this.#streamsKept.get(stream) ?? 0) < WAKE_STREAM_TTL_MS / 60) return;
    if (this.#streamsKept.size > 1000) this.#streamsKept.clear();
    this.#streamsKept.set(stream, now);
    await this.#redis.pexpire(stream, WAKE_STREAM_TTL_MS);
  }
}

export interface SettledJob {
  readonly model: string;
  readonly jobId: string;
  /** Models of the other stages, if it is a cascade. */
  readonly past?: readonly string[] | undefined;
  /** The producer that waits, if it is known. */
  readonly replyTo?: string | undefined;
}

/** What an attempt shows for its right to settle. */
export interface Lease {
  readonly queue: string;
  readonly token: string;
}

export type SettleOutcome = "written" | "already_settled" | "lost_lock";

/** A day: over a weekend a pipeline re-attaches by streaming, not by remembering. */
export const RESULT_TTL_MS: number = 24 * 3600 * 1000;
const WAKE_STREAM_LENGTH = 10_000;
const WAKE_STREAM_TTL_MS = 3600 * 1000;

const WRITTEN = 1;
const LOST_LOCK = -1;

/**
 * KEYS: 1 the job's lock, 2 its result, 3 its payload. ARGV: 1 the attempt's token, 2 the record,
 * 3 its time to live in ms. Returns 1 written, 0 already settled, -1 the attempt lost its lock.
 */
const SETTLE_SCRIPT = `
if redis.call("GET", KEYS[1]) ~= ARGV[1] then return -1 end
local written = redis.call("SET", KEYS[2], ARGV[2], "PX", ARGV[3], "NX")
redis.call("DEL", KEYS[3])
return written and 1 or 0
`;
