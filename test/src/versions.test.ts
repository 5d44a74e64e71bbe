import { keysFor, PROTOCOL_VERSION } from "@rankfleet/queue/contract";
import { Queue } from "bullmq";
import { afterAll, beforeAll, expect, test } from "vitest";
import { TestFleet } from "./support/fleet.ts";
import { requests } from "./support/texts.ts";

let fleet: TestFleet;
let queue: Queue;
const keys = keysFor().model("box");
beforeAll(async () => {
  fleet = await TestFleet.start();
  await fleet.worker();
  queue = new Queue(keys.queue("standard"), { connection: fleet.redis, prefix: "rankfleet" });
});
afterAll(async () => {
  await queue.close();
  await fleet.stop();
});

const [request] = requests(1, 3);

test("a message of the next protocol version waits for a worker that knows it, and spends no try", async () => {
  const client = fleet.client();
  await client.rerank(request!);
  const data = { v: 2, whatever: "a newer SDK says" };
  const job = await queue.add("rerank", data, { jobId: "newer", attempts: 3 });
  await expect.poll(() => job.getState(), { timeout: 10_000 }).toBe("delayed");
  // Others go on meanwhile, and it is looked at again and again.
  expect((await client.rerank(request!)).results).toHaveLength(3);
  await new Promise((resolve) => setTimeout(resolve, 6_000));
  const again = (await queue.getJob("newer"))!;
  expect(await again.getState()).toBe("delayed");
  expect(again.attemptsMade).toBe(0);
  expect(again.attemptsStarted).toBeGreaterThan(1);
  await again.remove();
});

test("thousands of jobs that no worker here may take do not keep the others from being done", async () => {
  const client = fleet.client({ modelWaitMs: 0 });
  const pinned = {
    v: PROTOCOL_VERSION,
    model: "box",
    documents: 1,
    characters: 1,
    payload: { json: JSON.stringify({ query: "q", documents: ["d"] }) },
    options: {},
    revision: "0123456789ab",
    lane: "standard",
    enqueuedAt: Date.now(),
    replyTo: "nobody",
  };
  for (let thousand = 0; thousand < 10; thousand++) {
    await queue.addBulk(
      Array.from({ length: 1000 }, (_, i) => {
        const opts = { jobId: `pinned-${thousand}-${i}`, priority: 1, attempts: 3 };
        return { name: "rerank", data: pinned, opts };
      }),
    );
  }
  // Each has to be looked at once.
  await expect.poll(() => queue.getDelayedCount(), { timeout: 30_000 }).toBeGreaterThan(9_500);
  const start = performance.now();
  for (const each of requests(3, 20)) await client.rerank(each);
  expect(performance.now() - start).toBeLessThan(10_000);
  await queue.obliterate({ force: true });
}, 90_000);

test("a job that pins a revision is scored by that revision, or not at all", async () => {
  const client = fleet.client({ modelWaitMs: 0 });
  const { revision } = await client.rerank(request!);
  expect((await client.rerank({ ...request!, revision })).revision).toBe(revision);
  const other = "0123456789ab";
  await expect(client.rerank({ ...request!, revision: other })).rejects.toMatchObject({
    code: "model_not_served",
    field: "revision",
    message: expect.stringContaining(revision) as string,
  });
  // A worker of that revision was there a moment ago, so the job is accepted, and waits.
  await fleet.redis.hset(keys.revisions, other, Date.now());
  const waiting = await client.enqueue({ ...request!, revision: other });
  const late = await client.enqueue({ ...request!, revision: other, deadline: Date.now() + 2_000 });
  await expect(late.result()).rejects.toMatchObject({ code: "deadline_exceeded" });
  expect(["waiting", "active"]).toContain(await waiting.status());
  expect(await waiting.cancel()).toBe(true);
  await expect(client.rerank({ ...request!, revision: "8db" })).rejects.toMatchObject({
    code: "invalid_request",
    field: "revision",
  });
});
