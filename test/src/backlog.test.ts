import { Backlog, BacklogSweeper } from "@rankfleet/queue";
import { keysFor, parseJobId } from "@rankfleet/queue/contract";
import type { BackpressureError, RerankRequest } from "@rankfleet/sdk";
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import { metric, TestFleet } from "./support/fleet.ts";
import { simulatedFolder } from "./support/simulated.ts";
import { requests } from "./support/texts.ts";

let fleet: TestFleet;
let backlog: Backlog;
let simulated: string;
beforeAll(async () => {
  fleet = await TestFleet.start();
  backlog = new Backlog(fleet.redis, keysFor());
  simulated = simulatedFolder({ pairs_per_second: 1_000 });
});
beforeEach(async () => {
  await fleet.killWorkers();
  await fleet.redis.flushall();
});
afterAll(() => fleet.stop());

const slowWorker = (): ReturnType<TestFleet["worker"]> =>
  fleet.worker({ RANKFLEET_MODEL: `sim=${simulated}` });

const ofTenant = (tenant: string, count: number, documents: number): RerankRequest[] =>
  requests(count, documents).map((request, i) => ({
    ...request,
    query: `${tenant} asks ${i}`,
    model: "sim",
    tenant,
  }));

test("what is queued is counted once and taken off once, however a job ends", async () => {
  const worker = await slowWorker();
  const client = fleet.client({ model: "sim" });
  await client.rerank(ofTenant("warm", 1, 2)[0]!);
  worker.child.kill("SIGSTOP");
  const [done, cancelled, late] = await Promise.all([
    client.enqueue({ ...ofTenant("a", 1, 5)[0]!, idempotencyKey: "once" }),
    client.enqueue(ofTenant("a", 1, 7)[0]!),
    client.enqueue({ ...ofTenant("b", 1, 11)[0]!, deadline: Date.now() + 200 }),
  ]);
  await client.enqueue({ ...ofTenant("a", 1, 5)[0]!, idempotencyKey: "once" });
  const big = await client.enqueue({ ...ofTenant("b", 1, 600)[0]! });
  expect(await backlog.queued("sim")).toMatchObject({ pairs: 5 + 7 + 11 + 600 });
  expect((await backlog.byTenant("sim")).get("a")).toMatchObject({ pairs: 12 });
  expect((await client.backlog()).etaMs).toBeGreaterThan(0);
  await cancelled.cancel();
  expect(await backlog.queued("sim")).toMatchObject({ pairs: 5 + 11 + 600 });
  await new Promise((resolve) => setTimeout(resolve, 300));
  worker.child.kill("SIGCONT");
  await done.result();
  await expect(late.result()).rejects.toMatchObject({ code: "deadline_exceeded" });
  await big.result();
  await expect.poll(() => backlog.queued("sim")).toEqual({ pairs: 0, bytes: 0 });
  // No payload, no count, no trace of what was queued, as soon as the last worker has tidied up.
  const left = async (): Promise<string[]> =>
    (await fleet.redis.keys("rankfleet:{sim}:*")).filter((key) =>
      /:(?:payload|queued|backlog|parts|suspects)/u.test(key),
    );
  await expect.poll(left).toEqual([]);
});

test("every worker tells how much is queued, and how long the fleet needs for it", async () => {
  const worker = await slowWorker();
  const client = fleet.client({ model: "sim" });
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
  await slowWorker();
  const client = fleet.client({ model: "sim" });
  const job = await client.enqueue(ofTenant("a", 1, 5)[0]!);
  await job.result();
  const sizes = { documents: 5, characters: 50, lane: "standard", tenant: "a" } as const;
  await backlog.admit(job.id.split("@")[0]!, { model: "sim", ...sizes });
  expect(await backlog.queued("sim")).toEqual({ pairs: 0, bytes: 0 });
});

test("past a limit a producer is told when there will be room, or waits for it", async () => {
  const worker = await slowWorker();
  await fleet.client({ model: "sim" }).rerank(ofTenant("warm", 1, 2)[0]!);
  await backlog.setLimit("sim", "pairs", 500);
  worker.child.kill("SIGSTOP");
  const failing = fleet.client({ model: "sim", whenFull: "fail" });
  const jobs = await Promise.all(ofTenant("a", 10, 50).map((request) => failing.enqueue(request)));
  const [next] = ofTenant("b", 1, 50);
  const error = (await failing.enqueue(next!).catch((e: unknown) => e)) as BackpressureError;
  expect(error).toMatchObject({ name: "BackpressureError", code: "backpressure" });
  expect(error.message).toContain("500 of at most 500 pairs");
  expect(error.etaMs).toBeGreaterThan(0);
  const waits: (number | undefined)[] = [];
  const waiting = fleet.client({ model: "sim", onWait: ({ etaMs }) => waits.push(etaMs) });
  const pending = waiting.rerank(next!);
  await expect.poll(() => waits.length).toBeGreaterThan(0);
  const late = waiting.rerank({ ...next!, deadline: Date.now() + 300 });
  await expect(late).rejects.toMatchObject({ code: "deadline_exceeded" });
  worker.child.kill("SIGCONT");
  expect((await pending).results).toHaveLength(50);
  await Promise.all(jobs.map((job) => job.result()));
});

test("a tenant's own limit binds that tenant alone", async () => {
  const worker = await slowWorker();
  const client = fleet.client({ model: "sim", whenFull: "fail" });
  await client.rerank(ofTenant("warm", 1, 2)[0]!);
  worker.child.kill("SIGSTOP");
  await backlog.setLimit("sim", "tenantPairs", 100);
  await backlog.setLimit("sim", "pairs/large", 200);
  for (const request of ofTenant("small", 2, 50)) await client.enqueue(request);
  await expect(client.enqueue(ofTenant("small", 1, 50)[0]!)).rejects.toThrow(/tenant pairs/u);
  for (const request of ofTenant("large", 4, 50)) await client.enqueue(request);
  await expect(client.enqueue(ofTenant("large", 1, 50)[0]!)).rejects.toThrow(/tenant pairs/u);
  await client.enqueue(ofTenant("other", 1, 50)[0]!);
  worker.child.kill("SIGCONT");
});

test("all models together have a bound, which is looked at once a second", async () => {
  const worker = await slowWorker();
  const client = fleet.client({ model: "sim", whenFull: "fail" });
  await client.rerank(ofTenant("warm", 1, 2)[0]!);
  worker.child.kill("SIGSTOP");
  await backlog.setLimit(undefined, "pairs", 100);
  for (const request of ofTenant("a", 3, 50)) await client.enqueue(request);
  await new Promise((resolve) => setTimeout(resolve, 1_200));
  await client.enqueue(ofTenant("b", 1, 1)[0]!).catch(() => {});
  await new Promise((resolve) => setTimeout(resolve, 200));
  await expect(client.enqueue(ofTenant("c", 1, 1)[0]!)).rejects.toThrow(/total pairs/u);
  worker.child.kill("SIGCONT");
});

test("a model's own bound holds for a producer that saw nothing queued when it last looked", async () => {
  const worker = await slowWorker();
  const client = fleet.client({ model: "sim", whenFull: "fail" });
  await client.rerank(ofTenant("warm", 1, 2)[0]!); // Nothing was queued: the next one need not wait to be admitted.
  worker.child.kill("SIGSTOP");
  await backlog.setLimit("sim", "pairs", 100);
  const sizes = { documents: 100, characters: 100, lane: "standard", tenant: "other" } as const;
  await backlog.admit("elsewhere", { model: "sim", ...sizes });
  await expect(client.enqueue(ofTenant("a", 1, 1)[0]!)).rejects.toMatchObject({
    code: "backpressure",
  });
  expect(await fleet.redis.zcard("rankfleet:{sim}:prioritized")).toBe(0);
  expect(await backlog.queued("sim")).toMatchObject({ pairs: 100 });
  worker.child.kill("SIGCONT");
});

test("the bound of all models together holds for a model of which nothing is queued", async () => {
  await fleet.worker({ RANKFLEET_MODEL: `sim=${simulated},other=${simulated}` });
  const client = fleet.client({ model: "sim", whenFull: "fail" });
  await client.rerank(ofTenant("warm", 1, 2)[0]!); // Nothing was queued: the next one need not wait to be admitted.
  await backlog.admit("elsewhere", {
    model: "other",
    documents: 100,
    characters: 100,
    lane: "bulk",
  });
  await backlog.setLimit(undefined, "pairs", 100);
  await new Promise((resolve) => setTimeout(resolve, 1_200));
  await client.rerank(ofTenant("a", 1, 1)[0]!).catch(() => {});
  await new Promise((resolve) => setTimeout(resolve, 200));
  await expect(client.enqueue(ofTenant("b", 1, 1)[0]!)).rejects.toThrow(/total pairs/u);
  expect(await backlog.queued("sim")).toEqual({ pairs: 0, bytes: 0 });
});

/**
 * The order in which jobs of tenants are taken, when one has flooded the queue before the other came: as the
 * queues' own events tell it, since what a caller hears on a busy machine comes late and in no order.
 */
async function order(weights: Readonly<Record<string, number>>): Promise<string[]> {
  const worker = await slowWorker();
  const client = fleet.client({ model: "sim" });
  // So that the worker knows how large these jobs are, and how many to have in hand.
  for (const request of ofTenant("warm", 20, 20)) await client.rerank(request);
  for (const [tenant, weight] of Object.entries(weights)) {
    await backlog.setLimit("sim", `weight/${tenant}`, weight);
  }
  worker.child.kill("SIGSTOP");
  const tenants = new Map<string, string>();
  const results: Promise<unknown>[] = [];
  for (const [tenant, count] of [
    ["flood", 160],
    ["guest", 60],
  ] as const) {
    const jobs = await Promise.all(ofTenant(tenant, count, 20).map((each) => client.enqueue(each)));
    for (const job of jobs) {
      tenants.set(parseJobId(job.id).jobId, tenant);
      results.push(job.result());
    }
  }
  worker.child.kill("SIGCONT");
  await Promise.all(results);
  const taken: { readonly at: string; readonly tenant: string }[] = [];
  for (const queue of keysFor().model("sim").queues) {
    for (const [at, fields] of await fleet.redis.xrange(`rankfleet:${queue}:events`, "-", "+")) {
      const { event, jobId } = Object.fromEntries(pairsOf(fields));
      const tenant = tenants.get(jobId!);
      if (event === "active" && tenant !== undefined) taken.push({ at, tenant });
    }
  }
  const collator = new Intl.Collator("en", { numeric: true });
  return taken.toSorted((a, b) => collator.compare(a.at, b.at)).map(({ tenant }) => tenant);
}

const pairsOf = (fields: readonly string[]): [string, string][] =>
  fields.flatMap((name, i) => (i % 2 === 0 ? [[name, fields[i + 1]!]] : []));

const last = (ended: readonly string[], tenant: string): number => ended.lastIndexOf(tenant);

/** What share of the jobs was the guest's, until its last. */
function guestShare(ended: readonly string[]): number {
  const during = ended.slice(0, last(ended, "guest") + 1);
  return during.filter((tenant) => tenant === "guest").length / during.length;
}

test("tenants share a lane fairly: 60 jobs behind a flood of 160 have their turn every other job", async () => {
  const ended = await order({});
  expect(guestShare(ended)).toBeGreaterThan(0.4);
  expect(guestShare(ended)).toBeLessThan(0.6);
  expect(ended.at(-1)).toBe("flood");
});

test("who has little queued is next: not even what workers have in hand goes before", async () => {
  await slowWorker();
  const client = fleet.client({ model: "sim" });
  for (const request of ofTenant("warm", 20, 20)) await client.rerank(request);
  let ended = 0;
  const flood = await Promise.all(
    ofTenant("flood", 400, 20).map((each) => client.enqueue({ ...each, priority: "bulk" })),
  );
  for (const job of flood) {
    job.result().then(
      () => ended++,
      () => {}, // Those that are left when the worker is killed.
    );
  }
  const overtakenBy: number[] = [];
  for (const request of ofTenant("guest", 10, 20)) {
    const before = ended;
    await client.rerank({ ...request, priority: "bulk" });
    overtakenBy.push(ended - before);
  }
  // A dozen flood jobs are in hand all the time; without the express queue they all go before.
  expect(overtakenBy.toSorted((a, b) => a - b)[5]).toBeLessThanOrEqual(5);
});

test("a job is next if it has its turn before all that wait, and its flow has no debt", async () => {
  const keys = keysFor().model("turns");
  const admit = async (id: string, tenant: string): Promise<boolean> => {
    const sizes = { documents: 10, characters: 40_960, lane: "standard" } as const;
    const job = { model: "turns", ...sizes, tenant };
    const place = (await backlog.admit(id, job)) as { priority: number; isNext: boolean };
    if (!place.isNext) {
      await fleet.redis.zadd(
        `rankfleet:${keys.queue("standard")}:prioritized`,
        place.priority * 2 ** 32,
        id,
      );
    }
    return place.isNext;
  };
  expect(await admit("a1", "a")).toBe(false); // Nobody waits: any hand is free.
  expect([await admit("a2", "a"), await admit("a3", "a")]).toEqual([false, false]);
  expect(await admit("b1", "b")).toBe(true);
  // b has had as much as a's first job now, which ends; a's second is next, and b stands in line.
  await fleet.redis.zrem(`rankfleet:${keys.queue("standard")}:prioritized`, "a1");
  await backlog.release("turns", "b1");
  expect(await admit("b2", "b")).toBe(false);
});

test("a tenant of weight 3 has three jobs of four", async () => {
  const ended = await order({ guest: 3 });
  expect(guestShare(ended)).toBeGreaterThan(0.65);
});

test("standard jobs go before bulk jobs, which do not starve", async () => {
  const worker = await slowWorker();
  const client = fleet.client({ model: "sim" });
  // So that the worker knows how large these jobs are, and how many to have in hand.
  for (const request of ofTenant("warm", 20, 20)) await client.rerank(request);
  worker.child.kill("SIGSTOP");
  const ended: string[] = [];
  const run = async (priority: "bulk" | "standard", count: number): Promise<Promise<unknown>[]> => {
    const all = ofTenant("same", count, 20).map((each) => ({ ...each, priority }));
    const jobs = await Promise.all(
      all.map((each) => client.enqueue({ ...each, query: `${priority} ${each.query}` })),
    );
    return jobs.map((job) => job.result().then(() => ended.push(priority)));
  };
  const bulk = await run("bulk", 100);
  const standard = await run("standard", 300);
  worker.child.kill("SIGCONT");
  await Promise.all([...bulk, ...standard]);
  const during = ended.slice(0, last(ended, "standard") + 1);
  const bulkShare = during.filter((lane) => lane === "bulk").length / during.length;
  expect(bulkShare).toBeGreaterThan(0.03);
  expect(bulkShare).toBeLessThan(0.3);
});

test("when the virtual clock has come far, waiting priorities move down and keep their order", async () => {
  const keys = keysFor().model("far");
  const job = {
    model: "far",
    documents: 1,
    lane: "bulk",
    tenant: undefined,
  } as const;
  const huge = 2_000_000 * 4096;
  const first = await backlog.admit("first", { ...job, characters: huge }, false);
  const second = await backlog.admit("second", { ...job, characters: 4096 }, false);
  const third = await backlog.admit("third", { ...job, characters: 4096 }, false);
  expect(first).toEqual({ priority: 1, isNext: false });
  const waiting = `rankfleet:${keys.queue("bulk")}:prioritized`;
  for (const [name, admitted] of Object.entries({ second, third })) {
    const { priority } = admitted as { priority: number };
    expect(priority).toBe(1_900_000);
    await fleet.redis.zadd(waiting, priority * 2 ** 32 + (name === "second" ? 1 : 2), name);
  }
  await backlog.release("far", "first");
  await backlog.release("far", "second"); // Its start tag is the clock now: two million units.
  const scores = await fleet.redis.zrangebyscore(waiting, "-inf", "+inf", "WITHSCORES");
  expect(
    scores.map((each, i) => (i % 2 === 0 ? each : Math.floor(Number(each) / 2 ** 32))),
  ).toEqual(["second", 1, "third", 1]);
  expect(await backlog.admit("fourth", { ...job, characters: 4096 }, false)).toEqual({
    priority: 3,
    isNext: false,
  });
});

test("a job that was admitted and never queued is swept, one that waits is not", async () => {
  const sweeper = new BacklogSweeper(fleet.redis, keysFor());
  const admit = (): Promise<unknown> =>
    backlog.admit("orphan", {
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
    const entry = (await fleet.redis.hget(queued, "orphan"))!.split(" ");
    entry[3] = String(Number(entry[3]) - 3_600_000);
    await fleet.redis.hset(queued, "orphan", entry.join(" "));
  };
  await makeOld();
  await admit(); // Its producer was held up between here and the queue, and tries again.
  expect(await sweeper.sweep("sim")).toBe(0);
  await makeOld();
  // A large job whose producer died before it had queued a part.
  const parts = keysFor().model("sim").parts("orphan");
  await fleet.redis.hset(parts, { of: 5, digest: "" });
  expect(await sweeper.sweep("sim")).toBe(1);
  expect(await backlog.queued("sim")).toEqual({ pairs: 0, bytes: 0 });
  expect(await fleet.redis.exists(parts)).toBe(0);
});
