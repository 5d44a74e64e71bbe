import type { Redis } from "ioredis";
import {
  idempotencyConflict,
  type JobEnvelope,
  type Keys,
  type Lane,
  type ModelKeys,
} from "./contract/index.ts";
import { ADMIT_SCRIPT, RELEASE_SCRIPT } from "./backlog-scripts.ts";
import { isTight, PRODUCERS_SHARE, readMemory, type RedisMemory } from "./memory.ts";
import { script, type Script } from "./script.ts";

/**
 * What is queued of each model, exactly: a job is counted once when it is admitted and taken off once when
 * its record is written, both in scripts, whatever dies in between.
 *
 * The same scripts say in which order jobs are served. It is start-time fair queueing (Goyal, Vin, Cheng:
 * "Start-time Fair Queuing", SIGCOMM 1996): every tenant of every lane is a flow with a weight; a job's
 * start tag is max(virtual clock, finish tag of the flow's last job), its finish tag is start + size ÷
 * weight, and the clock is the start tag of the latest job that ended. Jobs are served by start tag, which
 * is their BullMQ priority. So a tenant with 50 jobs behind one with 5,000 has its turn every other job,
 * a flow that was idle has no credit, and nobody starves.
 *
 * A job whose tag is before those of all that wait has its turn at once, but workers' hands are full of
 * others. It goes to the express queue, for which they keep hands free, like the "sparse flows" of FQ-CoDel
 * (RFC 8290). What it cost is in its flow's finish tag, so nobody gets more than a fair share for it.
 */
export class Backlog {
  readonly #redis: Redis;
  readonly #keys: Keys;
  readonly #admit: Script;
  readonly #release: Script;
  /** Models of which nothing was queued when a job was last admitted here. */
  readonly #idle = new Set<string>();
  /** Jobs that wait for the end of the tick, by model. */
  readonly #waiting = new Map<string, WaitingJob[]>();
  #total: { readonly isOver: Refusal | undefined; readonly until: number } | undefined;
  #looking: Promise<Refusal | undefined> | undefined;

  constructor(redis: Redis, keys: Keys) {
    this.#redis = redis;
    this.#keys = keys;
    this.#admit = script(redis, "rankfleetAdmit", { keys: 4, lua: ADMIT_SCRIPT });
    this.#release = script(redis, "rankfleetRelease", { keys: 3, lua: RELEASE_SCRIPT });
  }

  /**
   * Counts a job in, if there is room for it. Repeating it changes nothing. A job of any size has room
   * where nothing is queued.
   *
   * @param isBound false for the next stage of a cascade, which was accepted before.
   * @throws InvalidRequestError `idempotency_conflict` if the id stands for another request.
   */
  async admit(jobId: string, job: JobToAdmit, isBound = true): Promise<Place | Refusal> {
    const over = isBound ? await this.#overTotal() : undefined;
    if (over !== undefined) return over;
    return this.#read(
      job.model,
      await this.#inCompany(job.model, toArguments(jobId, job, { isBound, mayBeNext: true })),
    );
  }

  /**
   * The same for a job of an idle model ({@link takeIdle}), sent before this returns: what is sent to Redis after it is
   * done after it.
   */
  async admitAtOnce(jobId: string, job: JobToAdmit, isBound = true): Promise<Place | Refusal> {
    const reply = new Promise<AdmitReply>((resolve, reject) => {
      // It goes to its lane's queue in any case; asked again, it must get the same place.
      const lone = toArguments(jobId, job, { isBound, mayBeNext: false });
      void this.#admitAll(job.model, [{ job: lone, resolve, reject }]);
    });
    return this.#read(job.model, await reply);
  }

  #read(model: string, [isAdmitted, value, queued, last]: AdmitReply): Place | Refusal {
    if (isAdmitted === 0 && value === "conflict") throw idempotencyConflict();
    if (Number(queued) === 0) this.#idle.add(model);
    else this.#idle.delete(model);
    return isAdmitted === 1
      ? { priority: Number(value), isNext: last === "1" }
      : { bound: value as Refusal["bound"], queued: Number(queued), most: Number(last) };
  }

  /**
   * Whether the model's queue was empty when it was last looked at from here, and no job has gone there on
   * the strength of that. Then the first priority is the job's own, and it need not wait to be told so. Not where all
   * models together have no room: it would be queued and not counted.
   */
  takeIdle(model: string, isBound = true): boolean {
    if (isBound) {
      if (this.#total === undefined || this.#total.isOver !== undefined) return false;
      void this.#overTotal(); // Not over as of a second ago, which is looked at anew meanwhile.
    }
    return this.#idle.delete(model);
  }

  /** Jobs of one tick go to Redis together: a script for each would be a tenth of all that the queue costs. */
  #inCompany(model: string, job: AdmitArguments): Promise<AdmitReply> {
    const waiting = this.#waiting.get(model) ?? [];
    this.#waiting.set(model, waiting);
    if (waiting.length === 0) {
      process.nextTick(() => {
        while (waiting.length > 0) {
          void this.#admitAll(model, waiting.splice(0, MOST_IN_COMPANY));
        }
      });
    }
    return new Promise((resolve, reject) => waiting.push({ job, resolve, reject }));
  }

  async #admitAll(model: string, waiting: readonly WaitingJob[]): Promise<void> {
    const { backlog, queued, limits, base } = this.#keys.model(model);
    const { pairs, bytes } = DEFAULT_LIMITS;
    try {
      const jobs = waiting.flatMap(({ job }) => job);
      const replies = await this.#admit(backlog, queued, limits, base, pairs, bytes, ...jobs);
      for (const [i, reply] of (replies as AdmitReply[]).entries()) waiting[i]!.resolve(reply);
    } catch (error) {
      for (const job of waiting) job.reject(error);
    }
  }

  /** Takes a job off without a record, e.g. one that was never added. */
  async release(model: string, jobId: string): Promise<void> {
    const keys = this.#keys.model(model);
    await this.#release(...releaseKeys(keys), jobId);
  }

  /** Whether the job is counted: from before it is queued until it ends, or goes on to another model. */
  async has(model: string, jobId: string): Promise<boolean> {
    return (await this.#redis.hexists(this.#keys.model(model).queued, jobId)) === 1;
  }

  /** Pairs and bytes (characters) queued for a model. */
  async queued(model: string): Promise<BacklogSize> {
    const { backlog } = this.#keys.model(model);
    const [pairs, bytes] = await this.#redis.hmget(backlog, "pairs", "bytes");
    return { pairs: Number(pairs ?? 0), bytes: Number(bytes ?? 0) };
  }

  /** By tenant; jobs without one are under `""`. */
  async byTenant(model: string): Promise<Map<string, BacklogSize>> {
    const all = await this.#redis.hgetall(this.#keys.model(model).backlog);
    const tenants = new Map<string, BacklogSize>();
    for (const [field, pairs] of Object.entries(all)) {
      if (!field.startsWith("pairs/")) continue;
      const tenant = field.slice("pairs/".length);
      tenants.set(tenant, { pairs: Number(pairs), bytes: Number(all[`bytes/${tenant}`] ?? 0) });
    }
    return tenants;
  }

  async limits(model: string | undefined): Promise<Record<string, number>> {
    const key = model === undefined ? this.#keys.limits : this.#keys.model(model).limits;
    const own = Object.entries(await this.#redis.hgetall(key));
    return {
      ...(model === undefined ? TOTAL_LIMITS : DEFAULT_LIMITS),
      ...Object.fromEntries(own.map(([field, value]) => [field, Number(value)])),
    };
  }

  /**
   * Sets a limit for everybody, from the next job on.
   *
   * @param model undefined: of all models together.
   * @param field `pairs`, `bytes`; of a model also `tenantPairs`, `tenantBytes`, and of one tenant
   *   `pairs/<tenant>`, `bytes/<tenant>`, `weight/<tenant>`.
   * @param value undefined: the default again.
   */
  async setLimit(
    model: string | undefined,
    field: string,
    value: number | undefined,
  ): Promise<void> {
    const key = model === undefined ? this.#keys.limits : this.#keys.model(model).limits;
    if (value === undefined) await this.#redis.hdel(key, field);
    else await this.#redis.hset(key, field, value);
  }

  /**
   * All models together, as of a second ago: a soft bound, so that only the first job waits for it, and one that is to be
   * refused for what may have been long ago.
   */
  #overTotal(): Promise<Refusal | undefined> | Refusal | undefined {
    const isOld = this.#total === undefined || Date.now() >= this.#total.until;
    if (isOld) {
      this.#looking ??= this.#lookAtTotal().finally(() => (this.#looking = undefined));
      if (this.#total === undefined || this.#total.isOver !== undefined) return this.#looking;
      this.#looking.catch(() => {}); // Redis is away; the job itself will tell.
    }
    return this.#total!.isOver;
  }

  async #lookAtTotal(): Promise<Refusal | undefined> {
    const [models, limits, memory] = await Promise.all([
      this.#redis.hkeys(this.#keys.models),
      this.limits(undefined),
      readMemory(this.#redis),
    ]);
    const sizes = await Promise.all(models.map((model) => this.queued(model)));
    const sum = (read: (size: BacklogSize) => number): number =>
      sizes.reduce((total, size) => total + read(size), 0);
    const [pairs, bytes] = [sum((size) => size.pairs), sum((size) => size.bytes)];
    const isOver: Refusal | undefined =
      pairs >= limits["pairs"]!
        ? { bound: "total pairs", queued: pairs, most: limits["pairs"]! }
        : bytes >= limits["bytes"]!
          ? { bound: "total bytes", queued: bytes, most: limits["bytes"]! }
          : overMemory(memory);
    this.#total = { isOver, until: Date.now() + TOTAL_CACHE_MS };
    return isOver;
  }
}

type JobToAdmit = Pick<
  JobEnvelope,
  "model" | "documents" | "characters" | "lane" | "tenant" | "digest"
>;

function toArguments(
  jobId: string,
  job: JobToAdmit,
  { isBound, mayBeNext }: { readonly isBound: boolean; readonly mayBeNext: boolean },
): AdmitArguments {
  return [
    jobId,
    job.documents,
    job.characters,
    job.tenant ?? "",
    clockOf(job.lane),
    job.lane,
    LANE_WEIGHTS[job.lane],
    isBound ? 1 : 0,
    job.digest ?? "",
    mayBeNext ? 1 : 0,
  ];
}

/** As {@link ADMIT_SCRIPT} takes them. */
type AdmitArguments = (string | number)[];
type AdmitReply = [isAdmitted: number, value: string, queued: string, mostOrIsNext: string];

interface WaitingJob {
  readonly job: AdmitArguments;
  resolve(reply: AdmitReply): void;
  reject(error: unknown): void;
}

/** Lua's `unpack` and the stack of a call have their limits. */
const MOST_IN_COMPANY = 200;

export interface BacklogSize {
  readonly pairs: number;
  /** Characters of text. */
  readonly bytes: number;
}

/** Where an admitted job stands. */
export interface Place {
  /** BullMQ's, in the queue of its lane. */
  readonly priority: number;
  /** Whether it goes before everything that waits. */
  readonly isNext: boolean;
}

/** Why a job was not admitted. */
export interface Refusal {
  readonly bound:
    | "pairs"
    | "bytes"
    | "tenant pairs"
    | "tenant bytes"
    | "total pairs"
    | "total bytes"
    | "bytes of Redis's memory";
  readonly queued: number;
  readonly most: number;
}

function overMemory(memory: RedisMemory): Refusal | undefined {
  if (!isTight(memory, PRODUCERS_SHARE)) return undefined;
  const most = Math.floor(PRODUCERS_SHARE * memory.most);
  return { bound: "bytes of Redis's memory", queued: memory.used, most };
}

const GIB = 1024 ** 3;
export const DEFAULT_LIMITS: BacklogSize = { pairs: 10_000_000, bytes: 4 * GIB };
export const TOTAL_LIMITS: BacklogSize = { pairs: 20_000_000, bytes: 8 * GIB };
const TOTAL_CACHE_MS = 1_000;

/** Beside the same tenant's bulk jobs standard ones get eight ninths. */
const LANE_WEIGHTS: Readonly<Record<Lane, number>> = { interactive: 1, standard: 8, bulk: 1 };

/** Interactive jobs stand in a queue of their own, which has a clock of its own. */
export function clockOf(lane: Lane): string {
  return lane === "interactive" ? "interactive" : "queue";
}

/** What the scripts that end a job need to take it off. */
export function releaseKeys(keys: ModelKeys): [backlog: string, queued: string, base: string] {
  return [keys.backlog, keys.queued, keys.base];
}
