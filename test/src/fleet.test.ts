import { spawn } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { ModelRegistry, type ModelOffer } from "@rankfleet/queue";
import { keysFor } from "@rankfleet/queue/contract";
import type { RerankClient } from "@rankfleet/sdk";
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import { cli, metric, TestFleet } from "./support/fleet.ts";
import { simulatedFolder } from "./support/simulated.ts";
import { requests } from "./support/texts.ts";

/** What workers of one model share: scores that they agree on, scores that they keep, and whose turn it is. */
const tiny = fileURLToPath(new URL("../fixtures/tiny-xlm-r", import.meta.url));

let fleet: TestFleet;
let client: RerankClient;
beforeAll(async () => {
  fleet = await TestFleet.start();
});
beforeEach(async () => {
  await fleet.killWorkers();
  await fleet.redis.flushall();
  client = fleet.client();
});
afterAll(() => fleet.stop());

/** Waits for a worker's end, and returns what it said. */
async function refusalOf(model: string): Promise<string> {
  const stranger = spawn(process.execPath, [cli, "worker", "--model", model, "--threads", "1"], {
    env: { ...process.env, REDIS_URL: fleet.url, LOG_LEVEL: "error" },
    stdio: ["ignore", "ignore", "pipe"],
  });
  let said = "";
  stranger.stderr.on("data", (chunk: Buffer) => (said += chunk.toString()));
  // Whoever is let in would serve for ever.
  const timer = setTimeout(() => stranger.kill("SIGKILL"), 10_000);
  const [code] = (await once(stranger, "exit")) as [number | null];
  clearTimeout(timer);
  expect(code).toBe(1);
  return said;
}

test("a worker that scores otherwise than its model's reference may not join, nor once the others are gone", async () => {
  const mismatch = /off the reference that revision .* on 20\d\d-.* --replace-reference/u;
  await fleet.worker();
  expect(await refusalOf(`box=${tiny}`)).toMatch(mismatch);
  await fleet.killWorkers();
  // As if they had been gone for long.
  await fleet.redis.del(keysFor().model("box").workers);
  expect(await refusalOf(`box=${tiny}`)).toMatch(mismatch);
  // The model's own workers come and go.
  await fleet.worker();
  await fleet.killWorkers();

  await fleet.worker({ RANKFLEET_MODEL: `box=${tiny}`, RANKFLEET_REPLACE_REFERENCE: "true" });
  await fleet.killWorkers();
  expect(await refusalOf("box")).toMatch(mismatch);
});

test("a name that is forgotten is free for another model", async () => {
  const registry = new ModelRegistry(fleet.redis, keysFor());
  await fleet.worker();
  await fleet.killWorkers();
  expect(await registry.forget("box")).toBe(true);
  await fleet.worker({ RANKFLEET_MODEL: `box=${tiny}` });
});

test("of two workers that start in the same moment, the second finds the first", async () => {
  const registry = new ModelRegistry(fleet.redis, keysFor());
  const join = (id: string): Promise<ModelOffer> => {
    const offer = { model: "box", revision: id, dtype: "fp32", maxTokens: 8 };
    return registry.join("box", { id, now: () => Date.now() }, (recorded) => recorded ?? offer);
  };
  const offers = await Promise.all(["a", "b", "c"].map((id) => join(id)));
  expect(new Set(offers.map(({ revision }) => revision)).size).toBe(1);
  expect(await registry.liveWorkers("box", Date.now())).toBe(3);
  // Who is refused leaves the others alone, and the next one need not wait for it.
  const refused = registry.join("box", { id: "d", now: () => Date.now() }, () => {
    throw new Error("scores otherwise");
  });
  await expect(refused).rejects.toThrow("scores otherwise");
  await join("e");
  expect(await registry.liveWorkers("box", Date.now())).toBe(4);
});

test("a pair that any worker has scored is not computed again", async () => {
  const [first] = requests(1, 20);
  const one = await fleet.worker();
  const before = await client.rerank(first!);
  expect(before.usage.cachedPairs).toBe(0);
  await fleet.killWorkers();

  const other = await fleet.worker();
  const again = await client.rerank(first!);
  expect(again.usage.cachedPairs).toBe(20);
  expect(again.results).toEqual(before.results);
  expect(await metric(other, 'rankfleet_pairs_total{model="box"}')).toBe(0);
  expect(await metric(other, 'rankfleet_pairs_cached_total{model="box"}')).toBe(20);
  expect(await metric(other, 'rankfleet_score_cache_hit_ratio{model="box"}')).toBe(1);
  // Another query is another pair; the same text beside new ones is not.
  const mixed = { ...first!, documents: [...first!.documents.slice(0, 5), "a new document"] };
  expect((await client.rerank(mixed)).usage).toMatchObject({ pairs: 6, cachedPairs: 5 });
  expect(one.url).not.toBe(other.url);
});

test("of equal requests that come at once a worker scores one", async () => {
  const [request] = requests(1, 50);
  const worker = await fleet.worker();
  const all = await Promise.all(Array.from({ length: 20 }, () => client.rerank(request!)));
  for (const { results } of all) expect(results).toEqual(all[0]!.results);
  expect(await metric(worker, 'rankfleet_pairs_total{model="box"}')).toBe(50);
});

test("the score cache is bounded, and off where it is set to 0", async () => {
  await fleet.worker({ RANKFLEET_SCORE_CACHE_PAIRS: "100" });
  for (const request of requests(30, 20)) await client.rerank(request);
  const keys = await fleet.redis.keys("*:scores:*");
  const sizes = await Promise.all(keys.map((key) => fleet.redis.hlen(key)));
  // Two generations of 50.
  expect(Math.max(...sizes)).toBeLessThanOrEqual(50);
  expect(sizes.reduce((a, b) => a + b)).toBeGreaterThanOrEqual(50);
  for (const key of keys) expect(await fleet.redis.pttl(key)).toBeGreaterThan(0);
  await fleet.killWorkers();
  await fleet.redis.flushall();

  const uncached = await fleet.worker({ RANKFLEET_SCORE_CACHE_PAIRS: "0" });
  const [request] = requests(1, 20);
  await client.rerank(request!);
  expect((await client.rerank(request!)).usage.cachedPairs).toBe(0);
  expect(await metric(uncached, 'rankfleet_pairs_total{model="box"}')).toBe(40);
  expect(await fleet.redis.keys("*:scores:*")).toEqual([]);
});

test("an interactive request does not stand behind what a worker has in hand of bulk", async () => {
  const folder = simulatedFolder({ pairs_per_second: 500 });
  await fleet.worker({ RANKFLEET_MODEL: `slow=${folder}` });
  // Ten seconds of work.
  const bulk = requests(100, 50).map((request) => ({
    ...request,
    model: "slow",
    priority: "bulk" as const,
  }));
  const jobs = await Promise.all(bulk.map((request) => client.enqueue(request)));
  const ended = { bulk: 0 };
  for (const job of jobs)
    void job.result().then(
      () => ended.bulk++,
      () => {},
    );
  await new Promise((resolve) => setTimeout(resolve, 1000));
  for (let i = 0; i < 5; i++) {
    const before = ended.bulk;
    const { timings } = await client.rerank({
      query: `urgent ${i}`,
      documents: ["one", "two", "three"],
      model: "slow",
      priority: "interactive",
    });
    // Two batches of bulk at the most: the one that computes, and what ends beside it.
    expect(ended.bulk - before).toBeLessThan(20);
    expect(timings.queuedMs).toBeLessThan(1000);
  }
  expect(ended.bulk).toBeLessThan(100);
}, 30_000);
