import type { Redis } from "ioredis";
import type { Keys } from "./contract/index.ts";
import { script, type Script } from "./script.ts";

/**
 * Logits of pairs that any worker has scored, so that the fleet computes a pair once.
 *
 * Two hashes for each model revision, `young` and `old`, from a pair's digest to its logit. New logits go
 * to `young`; when it is full it becomes `old`, and what was `old` is forgotten. So at most `maxPairs` are
 * kept (about 90 bytes each), those that were asked for of late among them, and none for longer than the
 * time to live.
 *
 * The cache is a courtesy: if Redis does not answer, nothing is known and nothing is kept.
 */
export class RedisScoreCache {
  readonly #redis: Redis;
  readonly #young: string;
  readonly #old: string;
  readonly #maxYoung: number;
  readonly #ttlMs: number;
  readonly #put: Script;
  #asked = 0;
  #found = 0;

  constructor(redis: Redis, keys: Keys, options: ScoreCacheOptions) {
    const { model, revision } = options;
    this.#redis = redis;
    ({ young: this.#young, old: this.#old } = keys.model(model).scores(revision));
    this.#put = script(redis, "rankfleetKeepScores", { keys: 2, lua: PUT_SCRIPT });
    this.#maxYoung = Math.ceil(options.maxPairs / 2);
    this.#ttlMs = options.ttlMs;
  }

  /** Pairs asked for and found since the start. */
  get counts(): { readonly asked: number; readonly found: number } {
    return { asked: this.#asked, found: this.#found };
  }

  /** One entry for each digest; `undefined` where nothing is known. Never rejects. */
  async get(digests: readonly string[]): Promise<readonly (number | undefined)[]> {
    if (digests.length === 0) return [];
    try {
      const [young, old] = await Promise.all(
        [this.#young, this.#old].map((key) => this.#redis.hmget(key, ...digests)),
      );
      const logits = digests.map((_, index) => readLogit(young?.[index] ?? old?.[index]));
      this.#asked += digests.length;
      for (const logit of logits) if (logit !== undefined) this.#found++;
      return logits;
    } catch {
      return [];
    }
  }

  /** Keeps the logits that are new; a pair that failed has NaN, which is not kept. */
  put(
    digests: readonly string[],
    logits: Float64Array,
    known: readonly (number | undefined)[] = [],
  ): void {
    const fields: (string | number)[] = [];
    for (const [index, logit] of logits.entries()) {
      if (known[index] !== undefined || !Number.isFinite(logit)) continue;
      fields.push(digests[index]!, Number(logit.toPrecision(9)));
    }
    for (let start = 0; start < fields.length; start += FIELDS_PER_COMMAND) {
      const some = fields.slice(start, start + FIELDS_PER_COMMAND);
      const { length } = some;
      this.#put(this.#young, this.#old, this.#maxYoung, this.#ttlMs, length, ...some).catch(
        () => {},
      );
    }
  }
}

export interface ScoreCacheOptions {
  readonly model: string;
  readonly revision: string;
  /** Most pairs to keep. */
  readonly maxPairs: number;
  readonly ttlMs: number;
}

/** Lua's `unpack` takes some thousands of arguments. */
const FIELDS_PER_COMMAND = 1000;

/**
 * KEYS: 1 young, 2 old. ARGV: 1 most fields of young, 2 its time to live in ms, 3 how many values follow,
 * then digests and logits by turns. UNLINK frees the old hash in the background.
 */
const PUT_SCRIPT = `
redis.call("HSET", KEYS[1], unpack(ARGV, 4, 3 + tonumber(ARGV[3])))
local size = redis.call("HLEN", KEYS[1])
if redis.call("PTTL", KEYS[1]) < 0 then redis.call("PEXPIRE", KEYS[1], ARGV[2]) end
if size >= tonumber(ARGV[1]) then
  redis.call("UNLINK", KEYS[2])
  redis.call("RENAME", KEYS[1], KEYS[2])
end
return size
`;

function readLogit(value: string | null | undefined): number | undefined {
  if (value === null || value === undefined) return undefined;
  const logit = Number(value);
  return Number.isFinite(logit) ? logit : undefined;
}
