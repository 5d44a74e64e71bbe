import { RedisScoreCache } from "@rankfleet/queue";
import { keysFor } from "@rankfleet/queue/contract";
import { expect, test } from "vitest";
import { emptyRedis } from "./support/empty-redis.ts";

/** What the score cache keeps, for how long, and what it forgets first. */
const empty = emptyRedis();
let now = Date.now();

const ttlMs = 60_000;
const keys = keysFor();
const { young, old } = keys.model("m").scores("r");
const cacheOf = (maxPairs: number): RedisScoreCache =>
  new RedisScoreCache(empty.redis, keys, {
    model: "m",
    revision: "r",
    maxPairs,
    ttlMs,
    now: () => now,
  });

const names = (group: string, count = 20): string[] =>
  Array.from({ length: count }, (_, i) => `${group}${i}`);

function keep(cache: RedisScoreCache, digests: readonly string[]): void {
  const score = { logit: 0.5, tokens: 9, isTruncated: false, pairs: 1 };
  cache.put(digests.map((digest) => [digest, score] as const));
}

async function hits(cache: RedisScoreCache, digests: readonly string[]): Promise<number> {
  return (await cache.get(digests)).filter((score) => score !== undefined).length;
}

test.each([
  [10, 200],
  [11, 200],
  [2, 7],
  [1_500, 4_000],
])("of at most %i pairs no more are kept, however many come at once: %i", async (most, come) => {
  const cache = cacheOf(most);
  keep(cache, names("a", come));
  const sizes = [await empty.redis.hlen(young), await empty.redis.hlen(old)];
  expect(sizes[0]! + sizes[1]!).toBeLessThanOrEqual(most);
  expect(sizes[0]! + sizes[1]!).toBeGreaterThanOrEqual(Math.floor(most / 2));
  for (const key of [young, old]) expect(await empty.redis.pttl(key)).toBeGreaterThan(0);
  // The last to come are those that are known.
  expect(await hits(cache, names("a", come).slice(-Math.floor(most / 2)))).toBe(
    Math.floor(most / 2),
  );
});

test("what was asked for of late stays, and what was not goes", async () => {
  const cache = cacheOf(40);
  keep(cache, names("a"));
  expect(await hits(cache, names("a"))).toBe(20);
  keep(cache, names("b"));
  expect(await hits(cache, names("a"))).toBe(20);
  keep(cache, names("c"));
  expect(await hits(cache, names("a"))).toBe(20);
  expect(await hits(cache, names("b"))).toBe(0);
  expect(cache.counts).toEqual({ asked: 80, found: 60 });
});

test("asking for a score does not lengthen its time to live", async () => {
  const cache = cacheOf(40);
  keep(cache, names("a"));
  for (const group of ["b", "c"]) {
    keep(cache, names(group));
    now += 0.45 * ttlMs;
    expect(await hits(cache, names("a"))).toBe(20);
  }
  now += 0.2 * ttlMs;
  expect(await empty.redis.hlen(young)).toBe(20);
  expect(await hits(cache, names("a"))).toBe(0);
});

test("what is no score is not known", async () => {
  const cache = cacheOf(40);
  const at = now.toString(36);
  const values = ["", "x", "0.5 9 0 1", "0.5 9 0 1 -", `NaN 9 0 1 ${at}`, `0.5 0 0 1 ${at}`];
  for (const [index, value] of values.entries()) await empty.redis.hset(young, `v${index}`, value);
  expect(await hits(cache, names("v", values.length))).toBe(0);
});
