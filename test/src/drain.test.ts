import { keysFor } from "@rankfleet/queue/contract";
import { Queue } from "bullmq";
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import { metric, TestFleet } from "./support/fleet.ts";
import { simulatedFolder } from "./support/simulated.ts";
import { requests } from "./support/texts.ts";

let fleet: TestFleet;
let slow: string;
beforeAll(async () => {
  fleet = await TestFleet.start();
  slow = simulatedFolder({ pairs_per_second: 50 });
});
beforeEach(async () => {
  await fleet.killWorkers();
  await fleet.redis.flushall();
});
afterAll(() => fleet.stop());

const env = (more: Record<string, string> = {}): Record<string, string> => ({
  RANKFLEET_MODEL: `sim=${slow}`,
  ...more,
});

const keys = keysFor().model("sim");
const active = (): Promise<number> => fleet.redis.llen(`rankfleet:${keys.queue("bulk")}:active`);

async function expectHandedBack(count: number): Promise<void> {
  const queue = new Queue(keys.queue("bulk"), { connection: fleet.redis, prefix: "rankfleet" });
  expect(await active()).toBe(0);
  const jobs = await queue.getJobs(["wait", "prioritized"]);
  expect(jobs).toHaveLength(count);
  expect(jobs.map((job) => [job.attemptsMade, job.stalledCounter])).toEqual(jobs.map(() => [0, 0]));
  await queue.close();
}

test("what cannot be finished within the grace time is handed back, no try is spent, exit 0", async () => {
  const worker = await fleet.worker(env({ RANKFLEET_GRACE_MS: "1500" }));
  const client = fleet.client({ model: "sim" });
  const jobs = await Promise.all(requests(6, 100).map((request) => client.enqueue(request)));
  await expect.poll(active).toBeGreaterThan(1);
  const start = performance.now();
  worker.child.kill("SIGTERM");
  expect(await worker.ended).toBe(0);
  expect(performance.now() - start).toBeLessThan(8_000);
  await expectHandedBack(6);
  // Another takes them at once: no lease has to run out.
  await fleet.worker({ RANKFLEET_MODEL: `sim=${simulatedFolder()}` });
  const taken = performance.now();
  for (const job of jobs) expect((await job.result()).results).toHaveLength(100);
  expect(performance.now() - taken).toBeLessThan(5_500);
});

test("a job that was cancelled while it is in a worker's hand can be made again under its key at once", async () => {
  await fleet.worker({ RANKFLEET_MODEL: `sim=${simulatedFolder({ pairs_per_second: 500 })}` });
  const client = fleet.client({ model: "sim" });
  for (const request of requests(5, 200)) {
    const keyed = { ...request, idempotencyKey: String(request.metadata!["number"]) };
    const job = await client.enqueue(keyed);
    await expect.poll(() => job.status()).toBe("active");
    expect(await job.cancel()).toBe(true);
    const again = await client.enqueue(keyed);
    expect(again.id).not.toBe(job.id);
    expect((await client.enqueue(keyed)).id).toBe(again.id);
    expect((await again.result()).results).toHaveLength(200);
  }
});

test("a second SIGTERM hands back at once", async () => {
  const worker = await fleet.worker(env({ RANKFLEET_GRACE_MS: "60000" }));
  const client = fleet.client({ model: "sim" });
  await Promise.all(requests(3, 100).map((request) => client.enqueue(request)));
  await expect.poll(active).toBeGreaterThan(1);
  worker.child.kill("SIGTERM");
  await new Promise((resolve) => setTimeout(resolve, 200));
  const start = performance.now();
  worker.child.kill("SIGTERM");
  expect(await worker.ended).toBe(0);
  expect(performance.now() - start).toBeLessThan(6_000);
  await expectHandedBack(3);
});

test("a job that is cancelled elsewhere while it is being scored is dropped, and frees its texts", async () => {
  const worker = await fleet.worker(env());
  const [small, large] = [requests(1, 2)[0]!, requests(1, 250)[0]!];
  const job = await fleet.client({ model: "sim" }).enqueue({ ...large, query: "cancel me" });
  const waiting = (): Promise<number> => metric(worker, 'rankfleet_pairs_waiting{model="sim"}');
  await expect.poll(waiting).toBeGreaterThan(0);
  const pending = job.result();
  const other = fleet.client({ model: "sim" });
  expect(await other.job(job.id).cancel()).toBe(true);
  await expect(pending).rejects.toMatchObject({ code: "cancelled" });
  await expect.poll(waiting).toBe(0);
  expect(await fleet.redis.keys("rankfleet:{sim}:payload:*")).toEqual([]);
  // 250 pairs would have been five seconds.
  const start = performance.now();
  await other.rerank({ ...small, query: "after" });
  expect(performance.now() - start).toBeLessThan(4_500);
  await expect.poll(active).toBe(0);
});

test("a worker that has lost Redis for too long exits, for its supervisor to start another", async () => {
  const own = await TestFleet.start();
  const worker = await own.worker({
    RANKFLEET_MODEL: `sim=${slow}`,
    RANKFLEET_WATCHDOG_MS: "1000",
    LOG_LEVEL: "silent",
  });
  await own.redisServer.stop();
  expect(await worker.ended).toBe(1);
  await own.stop();
});
