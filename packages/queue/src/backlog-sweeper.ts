import type { Redis } from "ioredis";
import { RELEASE_LUA } from "./backlog-scripts.ts";
import { clockOf, releaseKeys } from "./backlog.ts";
import { LANES, partIds, type Keys } from "./contract/index.ts";
import { script, type Script } from "./script.ts";

/** Keeps the backlog's count true where no script could: what died between two of them. */
export class BacklogSweeper {
  readonly #redis: Redis;
  readonly #keys: Keys;
  readonly #sweepOne: Script;

  constructor(redis: Redis, keys: Keys) {
    this.#redis = redis;
    this.#keys = keys;
    this.#sweepOne = script(redis, "rankfleetSweep", { keys: 5, lua: SWEEP_SCRIPT });
  }

  /**
   * Takes off what no queue knows: its producer died between admission and queue, or somebody emptied the
   * queue by hand. And forgets the flows that the clock has caught up with.
   */
  async sweep(model: string): Promise<number> {
    const keys = this.#keys.model(model);
    await this.#forgetFlows(keys.backlog);
    const now = Number((await this.#redis.time())[0]) * 1000;
    let swept = 0;
    for (let cursor = "0"; ;) {
      const [next, entries] = await this.#redis.hscan(keys.queued, cursor, "COUNT", 500);
      for (let i = 0; i < entries.length; i += 2) {
        const [jobId, entry] = [entries[i]!, entries[i + 1]!];
        if (now - Number(entry.split(" ")[3]) < SWEEP_AGE_MS) continue;
        const place = await this.#placeOf(model, jobId);
        if (place === "queued") continue;
        const itsKeys = [...releaseKeys(keys), keys.parts(jobId), keys.payload(jobId)];
        swept += Number(await this.#sweepOne(...itsKeys, jobId, entry, place));
      }
      if (next === "0") return swept;
      cursor = next;
    }
  }

  /** Whether a queue still has the job, or a part of it, or has given it up. */
  async #placeOf(model: string, jobId: string): Promise<"queued" | "given_up" | "nowhere"> {
    let place: "given_up" | "nowhere" = "nowhere";
    const keys = this.#keys.model(model);
    const of = Number((await this.#redis.hget(keys.parts(jobId), "of")) ?? 0);
    for (const queue of keys.queues) {
      const base = `${this.#keys.prefix}:${queue}`;
      for (const id of [jobId, ...partIds(jobId, of)]) {
        if ((await this.#redis.exists(`${base}:${id}`)) === 0) continue;
        if ((await this.#redis.zscore(`${base}:failed`, id)) === null) return "queued";
        place = "given_up";
      }
    }
    return place;
  }

  async #forgetFlows(backlog: string): Promise<void> {
    const clocks = await this.#redis.hmget(
      backlog,
      ...LANES.map((lane) => `clock/${clockOf(lane)}`),
    );
    for (let cursor = "0"; ;) {
      const [next, entries] = await this.#redis.hscan(
        backlog,
        cursor,
        "MATCH",
        "finish/*",
        "COUNT",
        500,
      );
      const over: string[] = [];
      for (let i = 0; i < entries.length; i += 2) {
        const lane = LANES.findIndex((each) => entries[i]!.startsWith(`finish/${each}/`));
        if (Number(entries[i + 1]) <= Number(clocks[lane] ?? 0)) over.push(entries[i]!);
      }
      if (over.length > 0) await this.#redis.hdel(backlog, ...over);
      if (next === "0") return;
      cursor = next;
    }
  }
}

const SWEEP_AGE_MS = 10 * 60_000;

/**
 * KEYS: 1 backlog, 2 queued, 3 base, 4 the job's parts, 5 its texts. ARGV: 1 the job, 2 its entry when the queues were
 * looked at: one that has been admitted anew since is on its way there; 3 where it was found then. Returns whether it was swept.
 *
 * Of a large job that was queued by half no merge will ever see to the parts. Dead letters keep their texts.
 */
const SWEEP_SCRIPT = `${RELEASE_LUA}
if redis.call("HGET", KEYS[2], ARGV[1]) ~= ARGV[2] then return 0 end
redis.call("DEL", KEYS[4])
if ARGV[3] == "nowhere" then redis.call("DEL", KEYS[5]) end
release(KEYS[1], KEYS[2], KEYS[3], ARGV[1])
return 1
`;
