import type { Redis } from "ioredis";
import { partId, partIds, parsePartRecord, type Keys, type PartRecord } from "./contract/index.ts";
import type { Lease } from "./result-store.ts";
import { Replication } from "./replication.ts";
import { script, type Script } from "./script.ts";
import { writeTo, type Write } from "./write.ts";

/**
 * The parts of large jobs until they are merged: a hash for each job, from a part's index to its record.
 * The first record of a part stays.
 */
export class PartStore {
  readonly #redis: Redis;
  readonly #keys: Keys;
  readonly #replication: Replication;
  readonly #settle: Script;
  readonly #write: Write;

  constructor(redis: Redis, keys: Keys) {
    this.#redis = redis;
    this.#keys = keys;
    this.#replication = Replication.of(redis);
    this.#settle = script(redis, "rankfleetSettlePart", { keys: 3, lua: SETTLE_PART_SCRIPT });
    this.#write = writeTo(redis);
  }

  /** Before the first part is queued. Repeating it changes nothing. */
  async begin(model: string, jobId: string, of: number, digest = ""): Promise<void> {
    const key = this.#keys.model(model).parts(jobId);
    await this.#write(key, ["hset", "of", of, "digest", digest], ["pexpire", PARTS_TTL_MS]);
  }

  /** How many parts the job was cut into and for which request; undefined if it was not, or is merged. */
  async find(model: string, jobId: string): Promise<{ of: number; digest: string } | undefined> {
    const key = this.#keys.model(model).parts(jobId);
    const [of, digest] = await this.#redis.hmget(key, "of", "digest");
    return of === null || of === undefined ? undefined : { of: Number(of), digest: digest ?? "" };
  }

  /**
   * Keeps a part's record and frees its texts.
   *
   * @param lease Of the attempt that scored it; absent for a part that the queue gave up.
   * @returns how many parts are still missing; `lost_lock` if another attempt may be at work;
   *   `gone` if the job was merged or cancelled meanwhile.
   */
  async settle(
    model: string,
    part: { readonly job: string; readonly index: number },
    record: PartRecord,
    lease?: Lease,
  ): Promise<number | "lost_lock" | "gone"> {
    const keys = this.#keys.model(model);
    const id = partId(part);
    let missing: unknown;
    await this.#replication.confirm(keys.base, async () => {
      missing = await this.#settle(
        keys.lock(lease?.queue ?? keys.queues[0]!, id),
        keys.parts(part.job),
        keys.payload(id),
        lease?.token ?? "",
        part.index,
        JSON.stringify(record),
      );
    });
    if (missing === LOST_LOCK) return "lost_lock";
    return missing === GONE ? "gone" : Number(missing);
  }

  /** Whether a part's record is there already. */
  has(model: string, part: { readonly job: string; readonly index: number }): Promise<boolean> {
    const key = this.#keys.model(model).parts(part.job);
    return this.#redis.hexists(key, String(part.index)).then((count) => count === 1);
  }

  /** All records in their order; undefined while one is missing, or when the job is merged. */
  async readAll(model: string, jobId: string): Promise<PartRecord[] | undefined> {
    const all = await this.#redis.hgetall(this.#keys.model(model).parts(jobId));
    const of = Number(all["of"] ?? Number.NaN);
    const records = Array.from({ length: of || 0 }, (_, index) => all[index]);
    if (records.length === 0 || records.some((json) => json === undefined)) return undefined;
    return records.map((json) => parsePartRecord(json!));
  }

  /**
   * The job is merged, or nobody wants it any more.
   *
   * @param late A part that was met since, whose texts came when the others' had been freed.
   */
  async forget(model: string, jobId: string, late?: { readonly index: number }): Promise<void> {
    const found = await this.find(model, jobId);
    const ids = found === undefined ? [] : partIds(jobId, found.of);
    if (late !== undefined) ids.push(partId({ job: jobId, index: late.index }));
    await this.#redis.unlink(this.#keys.model(model).parts(jobId), ...this.#textsOf(model, ids));
  }

  /**
   * To be called when all parts have been queued: what came when the job had ended, or gone on to its next stage, would stay.
   *
   * @param job.hasEnded There is a record. Where there is none, its parts are known to be merged by being gone.
   */
  async freeLate(
    model: string,
    jobId: string,
    { of, hasEnded }: { readonly of: number; readonly hasEnded: boolean },
  ): Promise<void> {
    if (!hasEnded && (await this.find(model, jobId)) !== undefined) return;
    const texts = this.#textsOf(model, partIds(jobId, of));
    await this.#redis.unlink(this.#keys.model(model).parts(jobId), ...texts);
  }

  #textsOf(model: string, ids: readonly string[]): string[] {
    return ids.map((id) => this.#keys.model(model).payload(id));
  }
}

/** As long as texts are kept. */
const PARTS_TTL_MS = 7 * 24 * 3600 * 1000;
const LOST_LOCK = -1;
const GONE = -2;

/**
 * KEYS: 1 the part's lock, 2 the job's parts, 3 the part's texts. ARGV: 1 the attempt's token or "",
 * 2 the part's index, 3 its record. Returns how many parts are missing, -1 lock lost, -2 job gone.
 */
const SETTLE_PART_SCRIPT = `
if ARGV[1] ~= "" and redis.call("GET", KEYS[1]) ~= ARGV[1] then return -1 end
redis.call("DEL", KEYS[3])
local of = redis.call("HGET", KEYS[2], "of")
if not of then return -2 end
redis.call("HSETNX", KEYS[2], ARGV[2], ARGV[3])
return tonumber(of) + 2 - redis.call("HLEN", KEYS[2])
`;
