import type { Redis } from "ioredis";
import { RELEASE_LUA } from "./backlog-scripts.ts";
import { Backlog, releaseKeys } from "./backlog.ts";
import {
  formatResult,
  parseResult,
  type FailedRecord,
  type Keys,
  type ResultRecord,
} from "./contract/index.ts";
import { Replication } from "./replication.ts";
import { script, type Script } from "./script.ts";

/**
 * The durable result records. The first record of a job stays: whoever comes later, be it a revived
 * worker or a late cancellation, is told that the job is settled.
 */
export class ResultStore {
  readonly #redis: Redis;
  readonly #keys: Keys;
  readonly #backlog: Backlog;
  readonly #replication: Replication;
  readonly #settle: Script;
  readonly #end: Script;
  /** Records that are on their way. */
  #settling = 0;

  constructor(redis: Redis, keys: Keys) {
    this.#redis = redis;
    this.#keys = keys;
    this.#backlog = new Backlog(redis, keys);
    this.#replication = Replication.of(redis);
    this.#settle = script(redis, "rankfleetSettle", { keys: 6, lua: SETTLE_SCRIPT });
    this.#end = script(redis, "rankfleetEnd", { keys: 5, lua: END_SCRIPT });
  }

  /**
   * Writes the record for the attempt that holds the job's lock, frees the payload, and tells the
   * producer.
   *
   * @returns `lost_lock` if another attempt may be at work by now: nothing was written.
   */
  async settle(job: SettledJob & Lease, record: ResultRecord): Promise<SettleOutcome> {
    const keys = this.#keys.model(job.model);
    const isAlone = this.#settling++ === 0;
    const outcome = await this.#confirmed(keys.base, () => {
      // Redis sends first to the client that it has had something for last. Who waits for a lone job's news shall have it
      // before this worker, which then has more to do than the two cores of a small machine can beside it.
      if (isAlone) this.#redis.exists(keys.lock(job.queue, job.jobId)).catch(() => {});
      return this.#settle(
        keys.lock(job.queue, job.jobId),
        keys.result(job.jobId),
        keys.payload(job.jobId),
        ...releaseKeys(keys),
        job.token,
        formatResult(record),
        RESULT_TTL_MS,
        job.replyTo === undefined ? "" : this.#keys.ended(job.replyTo),
        job.jobId,
        isDeadLetter(record) ? 1 : 0,
      );
    }).finally(() => this.#settling--);
    if (outcome === LOST_LOCK) return "lost_lock";
    if (outcome !== WRITTEN) return "already_settled";
    await this.#freePast(job);
    return "written";
  }

  /** The script's reply once a replica has what it wrote. If it must be repeated for that, it finds its own first record. */
  async #confirmed(key: string, write: () => Promise<unknown>): Promise<unknown> {
    let reply: unknown;
    await this.#replication.confirm(key, async () => {
      const again = await write();
      if (reply !== WRITTEN) reply = again;
    });
    return reply;
  }

  /** Writes the record of a job that no attempt will settle: cancelled, or given up by the queue. */
  async settleUnlocked(job: SettledJob, record: ResultRecord): Promise<SettleOutcome> {
    const keys = this.#keys.model(job.model);
    const outcome = await this.#confirmed(keys.base, () =>
      this.#end(
        keys.result(job.jobId),
        keys.payload(job.jobId),
        ...releaseKeys(keys),
        formatResult(record),
        RESULT_TTL_MS,
        job.replyTo === undefined ? "" : this.#keys.ended(job.replyTo),
        job.jobId,
        isDeadLetter(record) ? 1 : 0,
      ),
    );
    if (outcome !== WRITTEN) return "already_settled";
    await this.#freePast(job);
    if (job.endedInModel !== undefined && job.endedInModel !== job.model) {
      if (isDeadLetter(record)) await this.#keepTexts(job.endedInModel, job.jobId);
      else await this.free(job.endedInModel, job.jobId);
    }
    return "written";
  }

  /** Whether the attempt still holds the job's lock, for what cannot be done in one script with looking at it. */
  async holdsLease(
    model: string,
    { jobId, queue, token }: Lease & { jobId: string },
  ): Promise<boolean> {
    return (await this.#redis.get(this.#keys.model(model).lock(queue, jobId))) === token;
  }

  /** Tells the workers that have the job, or parts of it, in hand to drop it. */
  async announceCancelled(models: readonly string[], jobId: string): Promise<void> {
    for (const model of models) {
      await this.#redis.publish(this.#keys.notices, `cancelled ${model} ${jobId}`);
    }
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
    await Promise.all(past.map((model) => this.free(model, jobId)));
  }

  /** As long as the dead letter to which they belong; the place in the backlog goes. */
  async #keepTexts(model: string, jobId: string): Promise<void> {
    await this.#redis.pexpire(this.#keys.model(model).payload(jobId), DEAD_LETTER_TTL_MS);
    await this.#backlog.release(model, jobId);
  }

  /** Texts and place in the backlog of a job that has gone on to another model, or is given up. */
  async free(model: string, jobId: string): Promise<void> {
    await this.#redis.del(this.#keys.model(model).payload(jobId));
    await this.#backlog.release(model, jobId);
  }
}

export interface SettledJob {
  readonly model: string;
  readonly jobId: string;
  /** Models of the earlier stages, if it is a cascade. */
  readonly past?: readonly string[] | undefined;
  /** The model at whose stage a cascade ended early, if that is not its last: the texts are there. */
  readonly endedInModel?: string | undefined;
  /** The producer that waits, if it is known. */
  readonly replyTo?: string | undefined;
}

/** What an attempt shows to prove its right to settle. */
export interface Lease {
  readonly queue: string;
  readonly token: string;
}

export type SettleOutcome = "written" | "already_settled" | "lost_lock";

/** A day: a pipeline that was down for longer sends its requests again. */
const RESULT_TTL_MS = 24 * 3600 * 1000;
/** How long a dead letter and its texts are kept. */
export const DEAD_LETTER_TTL_MS: number = 30 * 24 * 3600 * 1000;

/** Its texts stay, to be looked at and tried again; not those of a job that was too late or cancelled. */
export function isDeadLetter(record: ResultRecord): record is FailedRecord {
  return record.state === "failed" && record.failure.code !== "deadline_exceeded";
}

const WRITTEN = 1;
const LOST_LOCK = -1;

/** A record of ordinary size goes out with the news, which spares its producer the way back for it. */
const RECORD_LUA = `
local function record(result, payload, json, ttl, channel, job, keeps)
  local news = job
  local standing = redis.call("GET", result)
  if not standing then
    if keeps == "1" then redis.call("PEXPIRE", payload, ${DEAD_LETTER_TTL_MS}) else redis.call("DEL", payload) end
    redis.call("SET", result, json, "PX", ttl)
    if #json <= 65536 then news = news .. " " .. json end
  elseif not string.find(string.sub(standing, 1, 64), '"failed"', 1, true) then
    -- An add that was sent twice has left them; a dead letter's stay.
    redis.call("DEL", payload)
  end
  if channel ~= "" then redis.call("PUBLISH", channel, news) end
  return standing and 0 or 1
end
`;

/**
 * KEYS: 1 the job's lock, 2 its result, 3 its payload, 4 backlog, 5 queued, 6 base. ARGV: 1 the attempt's token,
 * 2 the record, 3 its time to live in ms, 4 the producer's channel or "", 5 the job's id, 6 1 if the texts are kept
 * for the dead letters. Returns 1 written, 0 already settled, -1 the attempt lost its lock.
 *
 * It frees before it writes: a Redis that is full then lets the rest of the script pass (a script that has
 * begun to write is not stopped), so that a full Redis drains.
 */
const SETTLE_SCRIPT = `${RELEASE_LUA}${RECORD_LUA}
if redis.call("GET", KEYS[1]) ~= ARGV[1] then return -1 end
local written = record(KEYS[2], KEYS[3], ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6])
release(KEYS[4], KEYS[5], KEYS[6], ARGV[5])
return written
`;

/** The same without a lock. KEYS: 1 result, 2 payload, 3 to 5 as above. ARGV: 1 to 5 as 2 to 6 above. */
const END_SCRIPT = `${RELEASE_LUA}${RECORD_LUA}
local written = record(KEYS[1], KEYS[2], ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5])
release(KEYS[3], KEYS[4], KEYS[5], ARGV[4])
return written
`;
