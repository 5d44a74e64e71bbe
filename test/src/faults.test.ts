import { ResultStore } from "@rankfleet/queue";
import { keysFor, type ResultRecord } from "@rankfleet/queue/contract";
import type { RerankOutcome } from "@rankfleet/sdk";
import { Queue } from "bullmq";
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import { TestFleet } from "./support/fleet.ts";
import { requests } from "./support/texts.ts";

let fleet: TestFleet;
beforeAll(async () => {
  fleet = await TestFleet.start();
});
beforeEach(async () => {
  await fleet.killWorkers();
  await fleet.redis.flushall();
});
afterAll(() => fleet.stop());

/** Lease plus check, and some time to score. */
const TAKEOVER_MS = 12_000;

async function collect(
  outcomes: AsyncIterable<RerankOutcome>,
  onFirst: () => void,
): Promise<RerankOutcome[]> {
  const all: RerankOutcome[] = [];
  for await (const outcome of outcomes) {
    if (all.push(outcome) === 1) onFirst();
  }
  return all;
}

/** Scores by request and document: what must not change when workers die. */
function scores(outcomes: readonly RerankOutcome[]): Map<number, number[]> {
  return new Map(
    outcomes.map(({ index, result, error }) => {
      if (error !== undefined) throw error;
      const logits = result.results.toSorted((a, b) => a.index - b.index);
      return [
        index,
        logits.map((document) => (document.error === undefined ? document.logit : Number.NaN)),
      ];
    }),
  );
}

test("a worker killed in mid-bulk costs nothing: its jobs are taken over, and their scores are equal", async () => {
  const bulk = requests(60, 30);
  // Scores that are computed anew, and not the first time's.
  const uncached = { RANKFLEET_SCORE_CACHE_PAIRS: "0" };
  const victim = await fleet.worker(uncached);
  await fleet.worker(uncached);
  const undisturbed = scores(await collect(fleet.client().rerankMany(bulk), () => {}));
  const start = performance.now();
  const disturbed = await collect(fleet.client().rerankMany(bulk), () =>
    victim.child.kill("SIGKILL"),
  );
  expect(await victim.ended).toBe("SIGKILL");
  expect(disturbed).toHaveLength(60);
  expect(new Set(disturbed.map(({ index }) => index)).size).toBe(60);
  for (const [index, logits] of scores(disturbed)) {
    // Not to the last bit: float32 sums depend on the shape of the batch.
    for (const [i, logit] of logits.entries())
      expect(logit).toBeCloseTo(undisturbed.get(index)![i]!, 5);
  }
  expect(performance.now() - start).toBeLessThan(TAKEOVER_MS + 10_000);
});

test("SIGTERM drains: jobs in hand are finished, the rest stay in the queue, exit 0", async () => {
  const bulk = requests(80, 30);
  const worker = await fleet.worker();
  const outcomes = collect(fleet.client().rerankMany(bulk), () => worker.child.kill("SIGTERM"));
  expect(await worker.ended).toBe(0);
  expect(await fleet.redis.llen("rankfleet:{box}:active")).toBe(0);
  await fleet.worker();
  const all = await outcomes;
  expect(all.filter(({ error }) => error !== undefined)).toEqual([]);
  expect(all).toHaveLength(80);
});

test("a worker that was stopped for longer than its lease writes nothing when it comes back", async () => {
  const sleeper = await fleet.worker();
  const client = fleet.client();
  await client.rerank(requests(1, 2)[0]!); // It is warm.
  const jobs = await Promise.all(requests(20, 50).map((request) => client.enqueue(request)));
  await new Promise((resolve) => setTimeout(resolve, 100));
  sleeper.child.kill("SIGSTOP");
  await fleet.worker();
  const results = await Promise.all(jobs.map((job) => job.result()));
  const stored = (): Promise<(string | null)[]> =>
    Promise.all(
      jobs.map((job) => fleet.redis.get(`rankfleet:{box}:result:${job.id.split("@")[0]}`)),
    );
  const before = await stored();
  sleeper.child.kill("SIGCONT");
  await new Promise((resolve) => setTimeout(resolve, 3000));
  expect(await stored()).toEqual(before);
  expect(results).toHaveLength(20);
});

test("a job that is handed to a sleeping worker which was stopped is taken over", async () => {
  const stopped = await fleet.worker();
  const client = fleet.client();
  await client.rerank(requests(1, 2)[0]!);
  // It sleeps until something comes.
  await new Promise((resolve) => setTimeout(resolve, 500));
  stopped.child.kill("SIGSTOP");
  const job = await client.enqueue(requests(2, 20)[1]!);
  await expect.poll(() => job.status()).toBe("active");
  await fleet.worker();
  const start = performance.now();
  expect((await job.result()).results).toHaveLength(20);
  expect(performance.now() - start).toBeLessThan(TAKEOVER_MS);
  stopped.child.kill("SIGCONT");
});

test("a record is written by the holder of the lock alone, and only once", async () => {
  const keys = keysFor();
  const store = new ResultStore(fleet.redis, keys);
  const record: ResultRecord = {
    v: 1,
    state: "failed",
    failure: { code: "deadline_exceeded", message: "first" },
  };
  const job = { model: "box", jobId: "j1", queue: "{box}", replyTo: "p1" };
  const listener = fleet.redis.duplicate();
  const news: string[] = [];
  listener.on("message", (_channel, message) => news.push(message));
  await listener.subscribe(keys.ended("p1"));
  expect(await store.settle({ ...job, token: "mine" }, record)).toBe("lost_lock");
  await fleet.redis.set(keys.model("box").lock("{box}", "j1"), "theirs");
  expect(await store.settle({ ...job, token: "mine" }, record)).toBe("lost_lock");
  expect(await store.read("box", "j1")).toBeUndefined();
  await fleet.redis.set(keys.model("box").payload("j1"), "texts");
  expect(await store.settle({ ...job, token: "theirs" }, record)).toBe("written");
  expect(await fleet.redis.exists(keys.model("box").payload("j1"))).toBe(0);
  expect(await store.settle({ ...job, token: "theirs" }, { v: 1, state: "cancelled" })).toBe(
    "already_settled",
  );
  expect(await store.settleUnlocked(job, { v: 1, state: "cancelled" })).toBe("already_settled");
  expect(await store.read("box", "j1")).toEqual(record);
  // Once with the record, and then to say that there is one.
  await expect.poll(() => news).toEqual([`j1 ${JSON.stringify(record)}`, "j1", "j1"]);
  listener.disconnect();
});

test("a client whose subscription is cut off finds its results all the same", async () => {
  const client = fleet.client();
  const worker = await fleet.worker();
  await client.rerank(requests(1, 2)[0]!);
  worker.child.kill("SIGSTOP");
  const job = await client.enqueue(requests(1, 2)[0]!);
  const waiting = job.result();
  expect(await fleet.redis.call("CLIENT", "KILL", "TYPE", "pubsub")).toBeGreaterThan(0);
  worker.child.kill("SIGCONT");
  expect((await waiting).results).toHaveLength(2);
});

test("a request whose job Redis has forgotten is made again by who still waits for it", async () => {
  const worker = await fleet.worker();
  const client = fleet.client();
  const [warm, inHand, request] = requests(3, 3);
  await client.rerank(warm!);
  worker.child.kill("SIGSTOP");
  // The first one may be handed to the worker, which sleeps.
  const other = client.rerank(inHand!);
  const result = client.rerank(request!);
  const { queues } = keysFor().model("box");
  const waiting = queues.map(
    (name) => new Queue(name, { connection: fleet.redis, prefix: "rankfleet" }),
  );
  const jobs = async (): Promise<string[]> =>
    (await Promise.all(waiting.map((queue) => queue.getJobs(["wait", "prioritized"]))))
      .flat()
      .map(({ id }) => id!);
  await expect.poll(async () => (await jobs()).length).toBeGreaterThan(0);
  const forgotten = (await jobs()).at(-1)!;
  await Promise.all(waiting.map((queue) => queue.remove(forgotten)));
  await expect.poll(async () => (await jobs()).at(-1), { timeout: 15_000 }).toBeTypeOf("string");
  expect(await jobs()).not.toContain(forgotten);
  worker.child.kill("SIGCONT");
  expect((await result).results).toHaveLength(3);
  expect((await other).results).toHaveLength(3);
  await Promise.all(waiting.map((queue) => queue.close()));
}, 30_000);
