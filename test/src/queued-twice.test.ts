import { JobProducer, ResultStore } from "@rankfleet/queue";
import { keysFor, PROTOCOL_VERSION } from "@rankfleet/queue/contract";
import { Queue, Worker, type Job } from "bullmq";
import { afterEach, expect, test, vi } from "vitest";
import { stopBusy } from "./support/fleet.ts";
import { slowFleet } from "./support/slow-fleet.ts";
import { ofTenant } from "./support/tenants.ts";

const slow = slowFleet();
const keys = keysFor();
const sim = keys.model("sim");

afterEach(() => vi.restoreAllMocks());

/** What is left in Redis of any job. */
const leftovers = async (): Promise<string[]> =>
  (await slow.fleet.redis.keys("*")).filter((key) =>
    /:(?:payload|parts|suspects|queued|backlog|prioritized|active):?/u.test(key),
  );

const GONE = Object.assign(new Error("gone"), { name: "MaxRetriesPerRequestError" });
const FULL = new Error("OOM command not allowed when used memory > 'maxmemory'.");

/** The next job is queued, but for its parts from that one on: Redis goes away, or is full. */
function loseRedisAt(part: number, error: Error = GONE): void {
  let added = 0;
  vi.spyOn(Queue.prototype, "add").mockImplementation(async function (this: Queue, ...job) {
    if (added++ < part)
      return this.addBulk([{ name: job[0], data: job[1], opts: job[2]! }]).then(([one]) => one!);
    throw error;
  });
}

test.each([
  { what: "only counted when Redis went away", documents: 5, part: 0, error: GONE },
  { what: "queued in part when Redis went away", documents: 600, part: 1, error: GONE },
  { what: "queued in part when Redis was full", documents: 600, part: 1, error: FULL },
])("a job that was $what is taken back", async ({ documents, part, error }) => {
  const worker = await slow.worker();
  const client = slow.fleet.client({ whenFull: "fail" });
  await client.rerank(ofTenant("warm", 1, 2)[0]!);
  worker.child.kill("SIGSTOP");
  const [request] = ofTenant("a", 1, documents);
  loseRedisAt(part, error);
  const [code, why] =
    error === FULL
      ? ["backpressure", "Redis is full"]
      : ["redis_unavailable", "Redis went away: several tries had no answer"];
  await expect(client.enqueue(request!)).rejects.toMatchObject({
    code,
    message: expect.stringContaining(why) as string,
  });
  vi.restoreAllMocks();
  await expect.poll(() => slow.backlog.queued("sim")).toMatchObject({ pairs: documents });
  await expect.poll(() => slow.backlog.queued("sim")).toMatchObject({ pairs: 0 });
  // It may have been just about to take a part.
  worker.child.kill("SIGCONT");
  await expect.poll(leftovers).toEqual([]);
});

test("also if it is given up while Redis is waited for", async () => {
  const worker = await slow.worker();
  const client = slow.fleet.client();
  await client.rerank(ofTenant("warm", 1, 2)[0]!);
  worker.child.kill("SIGSTOP");
  loseRedisAt(0);
  const giveUp = new AbortController();
  const waiting = client.rerankMany(ofTenant("a", 1, 5), { signal: giveUp.signal }).next();
  waiting.catch(() => {});
  await expect.poll(() => slow.backlog.queued("sim")).toMatchObject({ pairs: 5 });
  giveUp.abort();
  await expect(waiting).rejects.toThrow("abort");
  vi.restoreAllMocks();
  await expect.poll(() => slow.backlog.queued("sim")).toMatchObject({ pairs: 0 });
  worker.child.kill("SIGCONT");
  await expect.poll(leftovers).toEqual([]);
});

test("under a key it is left for who repeats it", async () => {
  const worker = await slow.worker();
  const client = slow.fleet.client();
  const request = { ...ofTenant("a", 1, 600)[0]!, idempotencyKey: "again" };
  worker.child.kill("SIGSTOP");
  loseRedisAt(1);
  await expect(client.enqueue(request)).rejects.toMatchObject({ code: "redis_unavailable" });
  vi.restoreAllMocks();
  await new Promise((resolve) => setTimeout(resolve, 1_500));
  expect(await slow.backlog.queued("sim")).toMatchObject({ pairs: 600 });
  worker.child.kill("SIGCONT");
  expect((await client.rerank(request)).results).toHaveLength(600);
  await expect.poll(leftovers).toEqual([]);
});

test.each([{ documents: 100 }, { documents: 600 }])(
  "a job of $documents that ends before the queue lets go of it leaves no texts when it is repeated",
  async ({ documents: count }) => {
    const producer = new JobProducer(slow.fleet.redis, keys);
    const documents = Array.from({ length: count }, (_, i) => `${i} `.repeat(300));
    const sizes = { documents: count, characters: 600_000, lane: "standard" } as const;
    const rest = { v: PROTOCOL_VERSION, options: {}, enqueuedAt: 0, replyTo: "nobody" } as const;
    const add = (): Promise<unknown> =>
      producer.add(
        "twice",
        { ...sizes, ...rest, model: "sim" },
        { query: "q", documents },
        // As of a stage that is handed on once more, or of a job whose connection was lost before a replica had it.
        { isContinuation: true },
      );
    await add();
    const worker = new Worker(sim.queue("standard"), null, {
      connection: slow.fleet.redis,
      prefix: keys.prefix,
    });
    const inHand: Job[] = [];
    for (let job: Job | undefined; (job = await worker.getNextJob("mine")) !== undefined;) {
      inHand.push(job);
    }
    expect(inHand).toHaveLength(count === 100 ? 1 : 5);
    const store = new ResultStore(slow.fleet.redis, keys);
    const failure = { code: "deadline_exceeded", message: "over" } as const;
    const record = { v: PROTOCOL_VERSION, state: "failed", failure } as const;
    await store.settleUnlocked({ model: "sim", jobId: "twice" }, record);
    await add();
    for (const job of inHand) await job.moveToCompleted(null, "mine", false);
    expect(await leftovers()).toEqual([]);
    await worker.close();
    await producer.close();
  },
);

test("a worker that tries a job with care and loses it leaves nothing of that", async () => {
  const first = await slow.worker();
  const client = slow.fleet.client();
  await stopBusy(first, client, "sim");
  const job = await client.enqueue(ofTenant("a", 1, 200)[0]!);
  const [jobId] = job.id.split("@") as [string];
  // As after a worker's death.
  await slow.fleet.redis.hset(`${sim.base}:${jobId}`, "stc", 1);
  first.child.kill("SIGCONT");
  await expect.poll(() => slow.fleet.redis.exists(sim.suspects(jobId))).toBe(1);
  first.child.kill("SIGSTOP");
  await slow.worker();
  expect((await job.result()).results).toHaveLength(200);
  first.child.kill("SIGCONT");
  // It is in the middle of a run, which it will write down.
  await new Promise((resolve) => setTimeout(resolve, 2_000));
  await expect.poll(leftovers).toEqual([]);
});
