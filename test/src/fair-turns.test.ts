import { DeadLetters, JobProducer } from "@rankfleet/queue";
import { keysFor, parseJobId, PROTOCOL_VERSION } from "@rankfleet/queue/contract";
import { expect, test } from "vitest";
import { slowFleet } from "./support/slow-fleet.ts";
import { ofTenant } from "./support/tenants.ts";

const slow = slowFleet();

/**
 * The order in which jobs of tenants are taken, when one has flooded the queue before the other came: as the
 * queues' own events tell it, since what a caller hears on a busy machine comes late and in no order.
 */
async function order(weights: Readonly<Record<string, number>>): Promise<string[]> {
  const worker = await slow.worker();
  const client = slow.fleet.client({ model: "sim" });
  // So that the worker knows how large these jobs are, and how many to have in hand.
  for (const request of ofTenant("warm", 20, 20)) await client.rerank(request);
  for (const [tenant, weight] of Object.entries(weights)) {
    await slow.backlog.setLimit("sim", `weight/${tenant}`, weight);
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
  const taken = (await events("active")).flatMap(({ at, jobId }) => {
    const tenant = tenants.get(jobId);
    return tenant === undefined ? [] : [{ at, tenant }];
  });
  const collator = new Intl.Collator("en", { numeric: true });
  return taken.toSorted((a, b) => collator.compare(a.at, b.at)).map(({ tenant }) => tenant);
}

/** Of all of the model's queues, each in its order. */
async function events(
  name: "active" | "completed",
  since = "-",
): Promise<{ readonly at: string; readonly jobId: string }[]> {
  const { redis } = slow.fleet;
  const streams = keysFor()
    .model("sim")
    .queues.map((queue) => redis.xrange(`rankfleet:${queue}:events`, since, "+"));
  return (await Promise.all(streams)).flat().flatMap(([at, fields]) => {
    const { event, jobId } = Object.fromEntries(pairsOf(fields));
    return event === name ? [{ at, jobId: jobId! }] : [];
  });
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
  await slow.worker();
  const client = slow.fleet.client({ model: "sim" });
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

test("a job that comes late with an earlier turn goes before what is in hand", async () => {
  await slow.worker();
  const { redis } = slow.fleet;
  const client = slow.fleet.client({ model: "sim" });
  for (const request of ofTenant("warm", 20, 20)) await client.rerank(request);
  const flood = await Promise.all(ofTenant("flood", 300, 20).map((each) => client.enqueue(each)));
  const all = flood.map((job) => job.result());
  await all[10];
  const queue = `rankfleet:${keysFor().model("sim").queue("standard")}`;
  const lateOnes: { readonly jobId: string; readonly since: string }[] = [];
  for (const late of flood.slice(-5)) {
    // Its turn comes now, when others have been taken whose turn was later.
    const { jobId } = parseJobId(late.id);
    const [, , now] = (await redis
      .multi()
      .hset(`${queue}:${jobId}`, "priority", 1)
      .zadd(`${queue}:prioritized`, "XX", 2 ** 32, jobId)
      .xrevrange(`${queue}:events`, "+", "-", "COUNT", 1)
      .exec()) as [unknown, unknown, [null, [[string, string[]]]]];
    lateOnes.push({ jobId, since: now[1][0][0] });
    await late.result();
  }
  await Promise.all(all);
  const overtakenBy: number[] = [];
  for (const { jobId, since } of lateOnes) {
    const completed = await events("completed", `(${since}`);
    overtakenBy.push(completed.findIndex((event) => event.jobId === jobId));
  }
  expect(overtakenBy).not.toContain(-1);
  // Those whose batches are on their way: 1 to 10, on a busy machine too. Without the earlier turn in here: 43 to 47.
  expect(overtakenBy.toSorted((a, b) => a - b)[2]).toBeLessThanOrEqual(20);
});

test("a job is next if it has its turn before all that wait, and its flow has no debt", async () => {
  const keys = keysFor().model("turns");
  const admit = async (id: string, tenant: string): Promise<boolean> => {
    const sizes = { documents: 10, characters: 40_960, lane: "standard" } as const;
    const job = { model: "turns", ...sizes, tenant };
    const place = (await slow.backlog.admit(id, job)) as { priority: number; isNext: boolean };
    if (!place.isNext) {
      await slow.fleet.redis.zadd(
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
  await slow.fleet.redis.zrem(`rankfleet:${keys.queue("standard")}:prioritized`, "a1");
  await slow.backlog.release("turns", "b1");
  expect(await admit("b2", "b")).toBe(false);
});

test("a tenant of weight 3 has three jobs of four", async () => {
  const ended = await order({ guest: 3 });
  expect(guestShare(ended)).toBeGreaterThan(0.65);
});

test("standard jobs go before bulk jobs, which do not starve", async () => {
  const worker = await slow.worker();
  const client = slow.fleet.client({ model: "sim" });
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
  const first = await slow.backlog.admit("first", { ...job, characters: huge }, false);
  const second = await slow.backlog.admit("second", { ...job, characters: 4096 }, false);
  const third = await slow.backlog.admit("third", { ...job, characters: 4096 }, false);
  expect(first).toEqual({ priority: 1, isNext: false });
  const waiting = `rankfleet:${keys.queue("bulk")}:prioritized`;
  for (const [name, admitted] of Object.entries({ second, third })) {
    const { priority } = admitted as { priority: number };
    expect(priority).toBe(1_900_000);
    await slow.fleet.redis.zadd(waiting, priority * 2 ** 32 + (name === "second" ? 1 : 2), name);
  }
  await slow.backlog.release("far", "first");
  await slow.backlog.release("far", "second"); // Its start tag is the clock now: two million units.
  const scores = await slow.fleet.redis.zrangebyscore(waiting, "-inf", "+inf", "WITHSCORES");
  expect(
    scores.map((each, i) => (i % 2 === 0 ? each : Math.floor(Number(each) / 2 ** 32))),
  ).toEqual(["second", 1, "third", 1]);
  expect(await slow.backlog.admit("fourth", { ...job, characters: 4096 }, false)).toEqual({
    priority: 3,
    isNext: false,
  });
});

test("a dead letter of busier days that is tried again takes its turn among those of today", async () => {
  const [producer, letters] = [
    new JobProducer(slow.fleet.redis, keysFor()),
    new DeadLetters(slow.fleet.redis, keysFor()),
  ];
  const add = (id: string, characters: number): Promise<unknown> => {
    const sizes = { model: "turns", documents: 1, characters, lane: "standard" } as const;
    const rest = { v: PROTOCOL_VERSION, options: {}, enqueuedAt: 0, replyTo: "nobody" } as const;
    return producer.add(id, { ...sizes, ...rest }, { query: "q", documents: ["d"] });
  };
  const base = "rankfleet:{turns}";
  await slow.backlog.admit("crowd", {
    model: "turns",
    documents: 1,
    characters: 4e9,
    lane: "standard",
  });
  await add("letter", 1e6);
  // It is given up, the others end, and the clock begins anew.
  await slow.fleet.redis.zrem(`${base}:prioritized`, "letter");
  await slow.fleet.redis.zadd(`${base}:failed`, 1, "letter");
  await slow.fleet.redis.hset(`${base}:letter`, { finishedOn: 1, failedReason: "once" });
  for (const id of ["crowd", "letter"]) await slow.backlog.release("turns", id);
  for (const id of ["first", "second"]) await add(id, 1e6);
  expect(await letters.redrive("letter@turns")).toBe("redriven");
  await add("after", 1e6);
  expect(await slow.fleet.redis.zrange(`${base}:prioritized`, "0", "-1")).toEqual([
    "first",
    "second",
    "letter",
    "after",
  ]);
  await Promise.all([producer.close(), letters.close()]);
});
