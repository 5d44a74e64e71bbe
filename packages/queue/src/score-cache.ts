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
 * `<logit> <tokens> <1 if truncated> <pairs> <when, in Redis's time, base 36>`. New scores go to `young`; when it is
 * full and more come, it becomes `old`, and what was `old` is forgotten. A score that is found in `old` goes to
 * `young` again. So at most `maxPairs` are kept (about 100 bytes each), those go first that nobody has asked for
 * lately, and none is known for longer than the time to live after it was computed.
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
  readonly #now: () => number;
  readonly #put: Script;
  #isInTheWay = false;
  #nextLook = 0;
  #asked = 0;
  #found = 0;

  constructor(redis: Redis, keys: Keys, options: ScoreCacheOptions) {
    const { model, revision } = options;
    this.#redis = redis;
    ({ young: this.#young, old: this.#old } = keys.model(model).scores(revision));
    this.#put = script(redis, "rankfleetKeepScores", { keys: 2, lua: PUT_SCRIPT });
    this.#maxYoung = Math.max(1, Math.floor(options.maxPairs / 2));
    this.#ttlMs = options.ttlMs;
    this.#now = options.now;
  }

  /** How many documents were asked for here, and how many of them were known. */
  get counts(): CacheCounts {
    return { asked: this.#asked, found: this.#found };
  }

  /** One entry for each digest; `undefined` where nothing is known. Never rejects. */
  async get(digests: readonly string[]): Promise<readonly (KeptScore | undefined)[]> {
    this.#asked += digests.length;
    try {
      const [young, old] = await Promise.all(
        [this.#young, this.#old].map((key) => this.#redis.hmget(key, ...digests)),
      );
      const oldest = this.#now() - this.#ttlMs;
      const again: string[] = [];
      const scores = digests.map((digest, index) => {
        const value = young?.[index] ?? old?.[index];
        const score = readScore(value, oldest);
        if (score === undefined) return undefined;
        this.#found++;
        if (typeof young?.[index] !== "string") again.push(digest, value!);
        return score;
      });
      this.#keep(again);
      return scores;
    } catch {
      return digests.map(() => undefined);
    }
  }

  /** Keeps new scores; nobody waits for it. */
  put(scores: readonly (readonly [digest: string, score: KeptScore])[]): void {
    const at = Math.round(this.#now()).toString(36);
    this.#keep(scores.flatMap(([digest, score]) => [digest, formatScore(score, at)]));
  }

  /** @param fields Digests and values by turns. */
  #keep(fields: readonly string[]): void {
    if (fields.length === 0) return;
    void this.#makeWay();
    if (this.#isInTheWay) return;
    for (let start = 0; start < fields.length; start += ARGUMENTS_PER_COMMAND) {
      const some = fields.slice(start, start + ARGUMENTS_PER_COMMAND);
      this.#put(this.#young, this.#old, this.#maxYoung, this.#ttlMs, ...some).catch(() => {});
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
  /** Redis's time. */
  readonly now: () => number;
}

export interface CacheCounts {
  readonly asked: number;
  readonly found: number;
}

const LOOK_EVERY_MS = 1_000;
/** Lua's `unpack` takes some thousands of arguments. */
const ARGUMENTS_PER_COMMAND = 1_000;

/**
 * KEYS: 1 young, 2 old. ARGV: 1 most fields of young, 2 its time to live in ms, then digests and scores by
 * turns, of which young takes as many at a time as it has room for. UNLINK frees the old hash in the background.
 */
const PUT_SCRIPT = `
local most, at = tonumber(ARGV[1]), 3
while at < #ARGV do
  local room = most - redis.call("HLEN", KEYS[1])
  if room < 1 then
    redis.call("UNLINK", KEYS[2])
    redis.call("RENAME", KEYS[1], KEYS[2])
    room = most
  end
  local last = math.min(at + 2 * room - 1, #ARGV)
  redis.call("HSET", KEYS[1], unpack(ARGV, at, last))
  if redis.call("PTTL", KEYS[1]) < 0 then redis.call("PEXPIRE", KEYS[1], ARGV[2]) end
  at = last + 1
end
`;

function formatScore({ logit, tokens, isTruncated, pairs }: KeptScore, at: string): string {
  // Nine significant digits bring every float32 back to the bit.
  return `${Number(logit.toPrecision(9))} ${tokens} ${isTruncated ? 1 : 0} ${pairs} ${at}`;
}

/** Anybody may have written there: what is no score, or is older than the cache allows, is not known. */
function readScore(value: string | null | undefined, oldest: number): KeptScore | undefined {
  const parts = (value ?? "").split(" ", 5);
  const [logit, tokens, truncated, pairs] = parts.map(Number);
  if (!Number.isFinite(logit) || !(tokens! > 0) || !(pairs! > 0)) return undefined;
  // With thirteen decimals an entry would take 112 bytes instead of 96.
  if (!(Number.parseInt(parts[4] ?? "", 36) > oldest)) return undefined;
  return { logit: logit!, tokens: tokens!, isTruncated: truncated === 1, pairs: pairs! };
}
