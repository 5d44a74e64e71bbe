import { JobConsumer, type Delivery } from "@rankfleet/queue";
import { keysFor } from "@rankfleet/queue/contract";
import { startLocalRedis, type LocalRedis } from "@rankfleet/local-redis";
import { Queue } from "bullmq";
import { Redis } from "ioredis";
import { afterAll, afterEach, beforeAll, expect, test, vi } from "vitest";

const NAME = "{one-by-one}";
const keys = keysFor();
let server: LocalRedis;
let redis: Redis;
let queue: Queue;
const consumers: JobConsumer[] = [];
beforeAll(async () => {
  server = await startLocalRedis();
  redis = new Redis(server.url, { maxRetriesPerRequest: null });
  queue = new Queue(NAME, { connection: redis, prefix: keys.prefix });
});
afterEach(async () => {
  await Promise.all(consumers.splice(0).map((consumer) => consumer.close()));
  await queue.obliterate({ force: true });
});
afterAll(async () => {
  await queue.close();
  redis.disconnect();
  await server.stop();
});

function consume(concurrency: number, handle: (delivery: Delivery) => Promise<void>): JobConsumer {
  const consumer = new JobConsumer({
    redis,
    keys,
    queue: NAME,
    concurrency,
    now: Date.now,
    handle,
    onGivenUp: () => Promise.resolve(),
    onError: () => {},
  });
  consumers.push(consumer);
  return consumer;
}

/** With a priority, as all our jobs have. */
const add = (jobs: number): Promise<unknown> =>
  queue.addBulk(
    Array.from({ length: jobs }, (_, i) => ({
      name: "rerank",
      data: { i },
      opts: { priority: 1 },
    })),
  );

test("each job of many that wait is begun before the next one is taken", async () => {
  await add(20);
  const begun: number[] = [];
  consume(20, async () => {
    begun.push(await queue.getActiveCount());
    // All are in hand at the same time in the end.
    await expect.poll(() => begun.length).toBe(20);
  });
  await expect.poll(() => begun.length).toBe(20);
  // Asking takes one way to Redis, in which one more may have been taken.
  for (const [place, active] of begun.entries()) expect(active).toBeLessThanOrEqual(place + 2);
});

test("while a lone job is worked on, those that come are taken too, up to the concurrency", async () => {
  let [inHand, most, done] = [0, 0, 0];
  consume(3, async () => {
    most = Math.max(most, ++inHand);
    // Ends only once three are in hand, or the last have been begun.
    await expect.poll(() => most === 3 || done >= 2).toBe(true);
    inHand--;
    done++;
  });
  await add(1);
  await expect.poll(() => inHand).toBe(1);
  await add(4);
  await expect.poll(() => done).toBe(5);
  expect(most).toBe(3);
});

test("no string is made of the next job to see whether it is an error's number", async () => {
  await add(5);
  const join = vi.spyOn(Array.prototype, "join");
  let done = 0;
  consume(1, async () => void done++);
  await expect.poll(() => done).toBe(5);
  const joined = join.mock.results.map(({ value }) => String(value));
  join.mockRestore();
  expect(joined.filter((text) => text.includes("rerank"))).toEqual([]);
});

test("a worker that closes takes no job after that", async () => {
  let end = (): void => {};
  const ended = new Promise<void>((resolve) => (end = resolve));
  let begun = 0;
  let closing: Promise<void> | undefined;
  const consumer = consume(2, async () => {
    begun++;
    closing ??= consumer.close();
    await add(1);
    await ended;
  });
  await add(1);
  await expect.poll(() => closing !== undefined).toBe(true);
  await new Promise((resolve) => setTimeout(resolve, 100));
  end();
  await closing;
  expect([begun, await queue.getPrioritizedCount()]).toEqual([1, 1]);
});

test("an idle worker hears at once of a job that another one hands back", async () => {
  const begun: string[] = [];
  const work = (name: string): JobConsumer =>
    consume(1, async ({ signal }) => {
      begun.push(name);
      await new Promise((resolve, reject) => {
        if (name === "second") resolve(undefined);
        signal!.addEventListener("abort", () => reject(signal!.reason as Error));
      });
    });
  const first = work("first");
  await add(1);
  await expect.poll(() => begun).toEqual(["first"]);
  work("second");
  // It has asked, and sleeps until something comes.
  await new Promise((resolve) => setTimeout(resolve, 300));
  const closed = first.close();
  first.handBack();
  // It would look by itself after five seconds.
  await expect.poll(() => begun, { timeout: 2_000 }).toEqual(["first", "second"]);
  await closed;
});

test("a worker that sleeps is woken with the job, not only told that there is one", async () => {
  const commands: { readonly name: string; readonly from: string }[] = [];
  const monitor = await redis.duplicate().monitor();
  monitor.on("monitor", (_time: string, [name]: string[], from: string) => {
    commands.push({ name: name!.toLowerCase(), from });
  });
  let begun = 0;
  consume(1, async () => void begun++);
  await new Promise((resolve) => setTimeout(resolve, 300));
  const sleeper = commands.findLast(({ name }) => name === "bzpopmin")!.from;
  commands.length = 0;
  await add(1);
  await expect.poll(() => begun).toBe(1);
  await expect.poll(() => commands).toContainEqual({ name: "evalsha", from: sleeper });
  monitor.disconnect();
});

test("a job that comes for a question that nobody waits for any more is anybody's at once", async () => {
  const blocking: Redis[] = [];
  const bzpopmin = vi.spyOn(Redis.prototype, "bzpopmin").mockImplementation(function (
    this: Redis,
    ...wait
  ) {
    blocking.push(this);
    return this.call("bzpopmin", ...(wait as unknown as [string, number])) as never;
  });
  const begun: { readonly at: number; readonly deaths: number }[] = [];
  consume(1, async ({ deaths }) => void begun.push({ at: performance.now(), deaths }));
  await expect.poll(() => blocking.length).toBe(1);
  // As on a Cluster whose node was away: the same connection waits and asks again, and what it asked before is sent too.
  const again = blocking[0]!.bzpopmin(`${keys.prefix}:${NAME}:marker`, 5);
  const added = performance.now();
  await add(1);
  await expect.poll(() => begun.length, { timeout: 5_000 }).toBe(1);
  expect(begun[0]!.deaths).toBe(0);
  expect(begun[0]!.at - added).toBeLessThan(3_000);
  await again;
  bzpopmin.mockRestore();
});

test("a worker that sleeps takes up a job that is put off when it is due", async () => {
  const begun: number[] = [];
  consume(1, async () => void begun.push(performance.now()));
  await new Promise((resolve) => setTimeout(resolve, 300));
  const added = performance.now();
  await queue.add("rerank", {}, { priority: 1, delay: 400 });
  await expect.poll(() => begun.length).toBe(1);
  expect(begun[0]! - added).toBeGreaterThan(390);
  expect(begun[0]! - added).toBeLessThan(1_500);
});

test("a job that comes while a worker that sleeps is closed is done, or waits for another", async () => {
  let done = 0;
  for (let round = 0; round < 40; round++) {
    const consumer = consume(1, async () => void done++);
    await new Promise((resolve) => setTimeout(resolve, 30));
    const late = (round % 8) / 4;
    const closed = new Promise((resolve) => setTimeout(resolve, late)).then(() => consumer.close());
    await add(1);
    await closed;
  }
  expect(await queue.getActiveCount()).toBe(0);
  expect(done + (await queue.getPrioritizedCount())).toBe(40);
  expect(done).toBeGreaterThan(0);
});
