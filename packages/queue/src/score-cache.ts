import type { Redis } from "ioredis";
import type { Keys } from "./contract/index.ts";
import { CACHE_SHARE, isTight, readMemory } from "./memory.ts";
import { script, type Script } from "./script.ts";

/** What a document got; the same as core's `KeptScore`. */
interface KeptScore {
  readonly logit: number;
  readonly tokens: number;
  readonly isTruncated: boolean;
  readonly pairs: number;
}

/**
 * Scores that any worker has computed, so that the fleet scores a document against a query once.
 *
 * Two hashes for each model revision, `young` and `old`, from a digest to
 * `<logit> <tokens> <1 if truncated> <pairs>`. New scores go to `young`; when it is full it becomes `old`, and what was `old` is forgotten. So at most `maxPairs` are
 * kept (about 90 bytes each), those that were asked for of late among them, and none for longer than the
 * time to live.
 *
 * The cache is a courtesy: if Redis does not answer, nothing is known and nothing is kept; if its memory
 * gets tight, everything kept is forgotten.
 */
export class RedisScoreCache {
  readonly #redis: Redis;
  readonly #young: string;
  readonly #old: string;
  readonly #maxYoung: number;
  readonly #ttlMs: number;
  readonly #put: Script;
  #isInTheWay = false;
  #nextLook = 0;

  constructor(redis: Redis, keys: Keys, options: ScoreCacheOptions) {
    const { model, revision } = options;
    this.#redis = redis;
    ({ young: this.#young, old: this.#old } = keys.model(model).scores(revision));
    this.#put = script(redis, "rankfleetKeepScores", { keys: 2, lua: PUT_SCRIPT });
    this.#maxYoung = Math.ceil(options.maxPairs / 2);
    this.#ttlMs = options.ttlMs;
  }

  /** One entry for each digest; `undefined` where nothing is known. Never rejects. */
  async get(digests: readonly string[]): Promise<readonly (KeptScore | undefined)[]> {
    try {
      const [young, old] = await Promise.all(
        [this.#young, this.#old].map((key) => this.#redis.hmget(key, ...digests)),
      );
      return digests.map((_, index) => readScore(young?.[index] ?? old?.[index]));
    } catch {
      return digests.map(() => undefined);
    }
  }

  /** Keeps new scores; nobody waits for it. */
  put(scores: readonly (readonly [digest: string, score: KeptScore])[]): void {
    void this.#makeWay();
    if (this.#isInTheWay) return;
    for (let start = 0; start < scores.length; start += SCORES_PER_COMMAND) {
      const fields = scores
        .slice(start, start + SCORES_PER_COMMAND)
        .flatMap(([digest, score]) => [digest, formatScore(score)]);
      this.#put(this.#young, this.#old, this.#maxYoung, this.#ttlMs, ...fields).catch(() => {});
    }
  }

  /** Looks once a second whether Redis has room; if not, everything that is kept is forgotten. */
  async #makeWay(): Promise<void> {
    if (Date.now() < this.#nextLook) return;
    this.#nextLook = Date.now() + LOOK_EVERY_MS;
    try {
      this.#isInTheWay = isTight(await readMemory(this.#redis), CACHE_SHARE);
      if (this.#isInTheWay) await this.#redis.unlink(this.#young, this.#old);
    } catch {
      // Redis is away: the next look is soon.
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

const LOOK_EVERY_MS = 1_000;
/** Lua's `unpack` takes some thousands of arguments. */
const SCORES_PER_COMMAND = 500;

/**
 * KEYS: 1 young, 2 old. ARGV: 1 most fields of young, 2 its time to live in ms, then digests and scores by
 * turns. UNLINK frees the old hash in the background.
 */
const PUT_SCRIPT = `
redis.call("HSET", KEYS[1], unpack(ARGV, 3))
local size = redis.call("HLEN", KEYS[1])
if redis.call("PTTL", KEYS[1]) < 0 then redis.call("PEXPIRE", KEYS[1], ARGV[2]) end
if size >= tonumber(ARGV[1]) then
  redis.call("UNLINK", KEYS[2])
  redis.call("RENAME", KEYS[1], KEYS[2])
end
return size
`;

function formatScore({ logit, tokens, isTruncated, pairs }: KeptScore): string {
  // Nine significant digits bring every float32 back to the bit.
  return `${Number(logit.toPrecision(9))} ${tokens} ${isTruncated ? 1 : 0} ${pairs}`;
}

/** Anybody may have written there: what is no score is not known. */
function readScore(value: string | null | undefined): KeptScore | undefined {
  const [logit, tokens, truncated, pairs] = (value ?? "").split(" ").map(Number);
  if (!Number.isFinite(logit) || !(tokens! > 0) || !(pairs! > 0)) return undefined;
  return { logit: logit!, tokens: tokens!, isTruncated: truncated === 1, pairs: pairs! };
}
