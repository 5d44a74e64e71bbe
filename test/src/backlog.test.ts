import { BacklogSweeper, ResultStore } from "@rankfleet/queue";
import { keysFor } from "@rankfleet/queue/contract";
import type { BackpressureError } from "@rankfleet/sdk";
import { expect, test } from "vitest";
import { metric } from "./support/fleet.ts";
import { slowFleet } from "./support/slow-fleet.ts";
import { ofTenant } from "./support/tenants.ts";

const slow = slowFleet();

test("what is queued is counted once and taken off once, however a job ends", async () => {
  const worker = await slow.worker();
  const client = slow.fleet.client({ model: "sim" });
  await client.rerank(ofTenant("warm", 1, 2)[0]!);
  worker.child.kill("SIGSTOP");
  const [done, cancelled, late] = await Promise.all([
    client.enqueue({ ...ofTenant("a", 1, 5)[0]!, idempotencyKey: "once" }),
    client.enqueue(ofTenant("a", 1, 7)[0]!),
    client.enqueue({ ...ofTenant("b", 1, 11)[0]!, deadline: Date.now() + 200 }),
  ]);
  await client.enqueue({ ...ofTenant("a", 1, 5)[0]!, idempotencyKey: "once" });
  const big = await client.enqueue({ ...ofTenant("b", 1, 600)[0]! });
  expect(await slow.backlog.queued("sim")).toMatchObject({ pairs: 5 + 7 + 11 + 600 });
  expect((await slow.backlog.byTenant("sim")).get("a")).toMatchObject({ pairs: 12 });
  expect((await client.backlog()).etaMs).toBeGreaterThan(0);
  await cancelled.cancel();
  expect(await slow.backlog.queued("sim")).toMatchObject({ pairs: 5 + 11 + 600 });
  await new Promise((resolve) => setTimeout(resolve, 300));
  worker.child.kill("SIGCONT");
  await done.result();
  await expect(late.result()).rejects.toMatchObject({ code: "deadline_exceeded" });
  await big.result();
  await expect.poll(() => slow.backlog.queued("sim")).toEqual({ pairs: 0, bytes: 0 });
  // No payload, no count, no trace of what was queued, as soon as the last worker has tidied up.
  const left = async (): Promise<string[]> =>
    (await slow.fleet.redis.keys("rankfleet:{sim}:*")).filter((key) =>
      /:(?:payload|queued|backlog|parts|suspects)/u.test(key),
    );
  await expect.poll(left).toEqual([]);
});

test("every worker tells how much is queued, and how long the fleet needs for it", async () => {
  const worker = await slow.worker();
  const client = slow.fleet.client({ model: "sim" });
  const jobs = await Promise.all(ofTenant("a", 40, 250).map((request) => client.enqueue(request)));
  const told = (name: string): Promise<number> => metric(worker, `${name}{model="sim"}`);
  // With the next sign of life.
  await expect.poll(() => told("rankfleet_backlog_pairs"), { timeout: 7_000 }).toBeGreaterThan(0);
  // At 1,000 pairs a second, as the worker's device has; how many tokens that is it has to learn.
  const seconds = await told("rankfleet_backlog_seconds");
  expect(seconds).toBeGreaterThan(0);
  await Promise.all(jobs.map((job) => job.cancel()));
  await expect.poll(() => told("rankfleet_backlog_pairs"), { timeout: 7_000 }).toBe(0);
});

test("a job that has ended before it is counted in is not counted", async () => {
  await slow.worker();
  const client = slow.fleet.client({ model: "sim" });
  const job = await client.enqueue(ofTenant("a", 1, 5)[0]!);
  await job.result();
  const sizes = { documents: 5, characters: 50, lane: "standard", tenant: "a" } as const;
  await slow.backlog.admit(job.id.split("@")[0]!, { model: "sim", ...sizes });
  expect(await slow.backlog.queued("sim")).toEqual({ pairs: 0, bytes: 0 });
});

test("a job whose key another request has had, and ended, since it was looked for is refused", async () => {
  await slow.worker();
  const [request] = ofTenant("a", 1, 5);
  const job = await slow.fleet
    .client({ model: "sim" })
    .enqueue({ ...request!, idempotencyKey: "k" });
  await job.result();
  const [jobId] = job.id.split("@") as [string];
  const record = await new ResultStore(slow.fleet.redis, keysFor()).read("sim", jobId);
  const { digest } = record as { digest: string };
  const known = { model: "sim", documents: 5, characters: 50, lane: "standard", digest } as const;
  await expect(slow.backlog.admit(jobId, known, true)).resolves.toMatchObject({ priority: 1 });
  await expect(
    slow.backlog.admit(jobId, { ...known, digest: "another" }, true),
  ).rejects.toMatchObject({ code: "idempotency_conflict" });
  expect(await slow.backlog.queued("sim")).toEqual({ pairs: 0, bytes: 0 });
});

test("past a limit a producer is told when there will be room, or waits for it", async () => {
  const worker = await slow.worker();
  await slow.fleet.client({ model: "sim" }).rerank(ofTenant("warm", 1, 2)[0]!);
  await slow.backlog.setLimit("sim", "pairs", 500);
  worker.child.kill("SIGSTOP");
  const failing = slow.fleet.client({ model: "sim", whenFull: "fail" });
  const jobs = await Promise.all(ofTenant("a", 10, 50).map((request) => failing.enqueue(request)));
  const [next] = ofTenant("b", 1, 50);
  const error = (await failing.enqueue(next!).catch((e: unknown) => e)) as BackpressureError;
  expect(error).toMatchObject({ name: "BackpressureError", code: "backpressure" });
  expect(error.message).toContain("500 of at most 500 pairs");
  expect(error.etaMs).toBeGreaterThan(0);
  const waits: (number | undefined)[] = [];
  const waiting = slow.fleet.client({ model: "sim", onWait: ({ etaMs }) => waits.push(etaMs) });
  const pending = waiting.rerank(next!);
  await expect.poll(() => waits.length).toBeGreaterThan(0);
  const late = waiting.rerank({ ...next!, deadline: Date.now() + 300 });
  await expect(late).rejects.toMatchObject({ code: "deadline_exceeded" });
  worker.child.kill("SIGCONT");
  expect((await pending).results).toHaveLength(50);
  await Promise.all(jobs.map((job) => job.result()));
});

test("a tenant's own limit binds that tenant alone", async () => {
  const worker = await slow.worker();
  const client = slow.fleet.client({ model: "sim", whenFull: "fail" });
  await client.rerank(ofTenant("warm", 1, 2)[0]!);
  worker.child.kill("SIGSTOP");
  await slow.backlog.setLimit("sim", "tenantPairs", 100);
  await slow.backlog.setLimit("sim", "pairs/large", 200);
  for (const request of ofTenant("small", 2, 50)) await client.enqueue(request);
  await expect(client.enqueue(ofTenant("small", 1, 50)[0]!)).rejects.toThrow(/tenant pairs/u);
  for (const request of ofTenant("large", 4, 50)) await client.enqueue(request);
  await expect(client.enqueue(ofTenant("large", 1, 50)[0]!)).rejects.toThrow(/tenant pairs/u);
  await client.enqueue(ofTenant("other", 1, 50)[0]!);
  worker.child.kill("SIGCONT");
});

test("all models together have a bound, which is looked at once a second", async () => {
  const worker = await slow.worker();
  const client = slow.fleet.client({ model: "sim", whenFull: "fail" });
  await client.rerank(ofTenant("warm", 1, 2)[0]!);
  worker.child.kill("SIGSTOP");
  await slow.backlog.setLimit(undefined, "pairs", 100);
  for (const request of ofTenant("a", 3, 50)) await client.enqueue(request);
  await new Promise((resolve) => setTimeout(resolve, 1_200));
  await client.enqueue(ofTenant("b", 1, 1)[0]!).catch(() => {});
  await new Promise((resolve) => setTimeout(resolve, 200));
  await expect(client.enqueue(ofTenant("c", 1, 1)[0]!)).rejects.toThrow(/total pairs/u);
  worker.child.kill("SIGCONT");
});

test("who was refused for what all models had queued is not refused for it long after", async () => {
  await slow.worker();
  const client = slow.fleet.client({ model: "sim", whenFull: "fail" });
  const sizes = { documents: 100, characters: 100, lane: "bulk" } as const;
  await slow.backlog.admit("elsewhere", { model: "sim", ...sizes });
  await slow.backlog.setLimit(undefined, "pairs", 100);
  const [request] = ofTenant("a", 1, 1);
  await expect(client.enqueue(request!)).rejects.toThrow(/total pairs/u);
  await slow.backlog.release("sim", "elsewhere");
  await new Promise((resolve) => setTimeout(resolve, 1_200));
  await (await client.enqueue(request!)).result();
});

test("a model's own bound holds for a producer that saw nothing queued when it last looked", async () => {
  await slow.worker();
  const client = slow.fleet.client({ model: "sim", whenFull: "fail" });
  await client.rerank(ofTenant("warm", 1, 2)[0]!); // Nothing was queued: the next one need not wait to be admitted.
  // One that sleeps would be handed the job before it can be refused.
  await slow.fleet.killWorkers();
  await slow.backlog.setLimit("sim", "pairs", 100);
  const sizes = { documents: 100, characters: 100, lane: "standard", tenant: "other" } as const;
  await slow.backlog.admit("elsewhere", { model: "sim", ...sizes });
  await expect(client.enqueue(ofTenant("a", 1, 1)[0]!)).rejects.toMatchObject({
    code: "backpressure",
  });
  expect(await slow.fleet.redis.zcard("rankfleet:{sim}:prioritized")).toBe(0);
  expect(await slow.backlog.queued("sim")).toMatchObject({ pairs: 100 });
});

test("the bound of all models together holds for a model of which nothing is queued", async () => {
  await slow.worker("sim", "other");
  const client = slow.fleet.client({ model: "sim", whenFull: "fail" });
  await client.rerank(ofTenant("warm", 1, 2)[0]!); // Nothing was queued: the next one need not wait to be admitted.
  await slow.backlog.admit("elsewhere", {
    model: "other",
    documents: 100,
    characters: 100,
    lane: "bulk",
  });
  await slow.backlog.setLimit(undefined, "pairs", 100);
  await new Promise((resolve) => setTimeout(resolve, 1_200));
  await client.rerank(ofTenant("a", 1, 1)[0]!).catch(() => {});
  await new Promise((resolve) => setTimeout(resolve, 200));
  await expect(client.enqueue(ofTenant("b", 1, 1)[0]!)).rejects.toThrow(/total pairs/u);
  expect(await slow.backlog.queued("sim")).toEqual({ pairs: 0, bytes: 0 });
});

test("a job that was admitted and never queued is swept, one that waits is not", async () => {
  const sweeper = new BacklogSweeper(slow.fleet.redis, keysFor());
  const admit = (): Promise<unknown> =>
    slow.backlog.admit("orphan", {
      model: "sim",
      documents: 3,
      characters: 9,
      lane: "bulk",
      tenant: undefined,
    });
  await admit();
  expect(await sweeper.sweep("sim")).toBe(0); // It may be on its way.
  const { queued } = keysFor().model("sim");
  const makeOld = async (): Promise<void> => {
    const entry = (await slow.fleet.redis.hget(queued, "orphan"))!.split(" ");
    entry[3] = String(Number(entry[3]) - 3_600_000);
    await slow.fleet.redis.hset(queued, "orphan", entry.join(" "));
  };
  await makeOld();
  await admit(); // Its producer was held up between here and the queue, and tries again.
  expect(await sweeper.sweep("sim")).toBe(0);
  await makeOld();
  // A large job whose producer died before it had queued a part.
  const parts = keysFor().model("sim").parts("orphan");
  await slow.fleet.redis.hset(parts, { of: 5, digest: "" });
  expect(await sweeper.sweep("sim")).toBe(1);
  expect(await slow.backlog.queued("sim")).toEqual({ pairs: 0, bytes: 0 });
  expect(await slow.fleet.redis.exists(parts)).toBe(0);
});
