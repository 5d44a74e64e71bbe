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

  constructor(redis: Redis, keys: Keys, options: { ttlMs?: number | undefined } = {}) {
    this.#redis = redis;
    this.#keys = keys;
    this.#ttlMs = options.ttlMs ?? RESULT_TTL_MS;
    this.#settle = script(redis, "rankfleetSettle", { keys: 3, lua: SETTLE_SCRIPT });
  }

  /**
   * Writes the record for the attempt that holds the job's lock, frees the payload, and tells the
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
      job.replyTo === undefined ? "" : this.#keys.ended(job.replyTo),
      job.jobId,
    );
    if (outcome === LOST_LOCK) return "lost_lock";
    await this.#freePast(job);
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
    if (job.replyTo !== undefined) {
      await this.#redis.publish(this.#keys.ended(job.replyTo), job.jobId);
    }
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

const WRITTEN = 1;
const LOST_LOCK = -1;

/**
 * KEYS: 1 the job's lock, 2 its result, 3 its payload. ARGV: 1 the attempt's token, 2 the record,
 * 3 its time to live in ms, 4 the producer's channel or "", 5 the job's id. Returns 1 written, 0 already
 * settled, -1 the attempt lost its lock.
 *
 * A record of ordinary size goes out with the news, which spares its producer the way back for it.
 */
const SETTLE_SCRIPT = `
if redis.call("GET", KEYS[1]) ~= ARGV[1] then return -1 end
local written = redis.call("SET", KEYS[2], ARGV[2], "PX", ARGV[3], "NX")
redis.call("DEL", KEYS[3])
if ARGV[4] ~= "" then
  local news = ARGV[5]
  if written and #ARGV[2] <= 65536 then news = news .. " " .. ARGV[2] end
  redis.call("PUBLISH", ARGV[4], news)
end
return written and 1 or 0
`;
