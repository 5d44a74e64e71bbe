import { execFile } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { ResultStore } from "@rankfleet/queue";
import { keysFor } from "@rankfleet/queue/contract";
import type { JobHandle, RerankClient, RerankRequest } from "@rankfleet/sdk";
import { Queue } from "bullmq";
import { afterAll, beforeAll, expect, test } from "vitest";
import { cli, stopBusy, TestFleet } from "./support/fleet.ts";
import { requests } from "./support/texts.ts";

let fleet: TestFleet;
let folder: string;
const keys = keysFor().model("box");
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "dead-test-"));
  fleet = await TestFleet.start();
});
afterAll(async () => {
  await fleet.stop();
  rmSync(folder, { recursive: true });
});

const run = (...args: string[]): Promise<{ stdout: string; stderr: string }> =>
  promisify(execFile)(process.execPath, [cli, "dead", ...args], {
    env: { ...process.env, REDIS_URL: fleet.url },
  });

test("a job that was given up is listed, shown, tried again as new, and gone", async () => {
  const worker = await fleet.worker();
  const client = fleet.client();
  await client.rerank(requests(1, 2)[0]!);
  worker.child.kill("SIGSTOP");
  // Its texts are a claim check; without them it fails for good, and with them again it can be done.
  const [request] = requests(1, 40);
  const long = {
    ...request!,
    documents: request!.documents.map((each) => `${each as string} `.repeat(4)),
  };
  const job = await client.enqueue({ ...long, tenant: "acme" });
  const payload = keys.payload(job.id.split("@")[0]!);
  const bytes = (await fleet.redis.getBuffer(payload))!;
  await fleet.redis.del(payload);
  worker.child.kill("SIGCONT");
  await expect(job.result()).rejects.toMatchObject({ code: "payload_missing" });

  // The record comes first, and a moment later the queue puts the job aside.
  await expect.poll(() => client.deadLetters.list("box")).toHaveLength(1);
  const [letter] = await client.deadLetters.list("box");
  expect(letter).toMatchObject({
    id: job.id,
    code: "payload_missing",
    documents: 40,
    tenant: "acme",
  });
  expect((await run("list")).stdout).toContain("payload_missing");
  expect(await client.deadLetters.redrive(job.id)).toBe("texts_gone");
  await expect(run("redrive", job.id)).rejects.toMatchObject({ code: 1 });
  await fleet.redis.set(payload, bytes);
  const shown = JSON.parse((await run("show", job.id)).stdout) as {
    texts: { documents: string[] };
  };
  expect(shown.texts.documents).toEqual(long.documents);
  expect((await run("redrive", job.id)).stdout).toBe("1 redriven\n");
  // The handle that failed before gets the result now.
  expect((await client.job(job.id).result()).results).toHaveLength(40);
  await expect.poll(() => client.deadLetters.list("box")).toEqual([]);
  expect(await client.deadLetters.redrive(job.id)).toBe("not_found");
});

/** Of more than 32 KB of text, so that it lies beside the job. */
const claimed = (query: string): RerankRequest => ({
  query,
  documents: requests(1, 60)[0]!.documents.map((each) => `${each as string} `.repeat(4)),
});

/** Queued while its worker is stopped; `go` lets the worker take it. */
async function heldJob(query: string): Promise<{
  client: RerankClient;
  job: JobHandle;
  jobId: string;
  go: () => boolean;
}> {
  await fleet.killWorkers();
  const worker = await fleet.worker();
  const client = fleet.client();
  await client.rerank(requests(1, 2)[0]!);
  await stopBusy(worker, client);
  const job = await client.enqueue(claimed(query));
  return { client, job, jobId: job.id.split("@")[0]!, go: () => worker.child.kill("SIGCONT") };
}

test("a job whose worker died after its failure was recorded is a dead letter all the same", async () => {
  const { client, job, jobId, go } = await heldJob("recorded, and not yet set aside");
  const failure = { code: "worker_killed", message: "recorded" };
  await fleet.redis.set(keys.result(jobId), JSON.stringify({ v: 1, state: "failed", failure }));
  await fleet.redis.hset(`rankfleet:{box}:${jobId}`, "ats", 1);
  go();
  const letter = async (): Promise<unknown> =>
    (await client.deadLetters.list("box")).find(({ id }) => id === job.id);
  await expect.poll(letter).toMatchObject({ code: "worker_killed", message: "recorded" });
  expect(await client.deadLetters.redrive(job.id)).toBe("redriven");
  expect((await job.result()).results).toHaveLength(60);
  await fleet.killWorkers();
});

test("a job that a failover brought to the next master before its texts is tried again, and scored with them", async () => {
  const { job, jobId, go } = await heldJob("ahead of its texts");
  const bytes = (await fleet.redis.getBuffer(keys.payload(jobId)))!;
  await fleet.redis.del(keys.payload(jobId));
  go();
  await expect.poll(() => fleet.redis.hget(`rankfleet:{box}:${jobId}`, "atm")).toBe("1");
  await fleet.redis.set(keys.payload(jobId), bytes);
  expect((await job.result()).results).toHaveLength(60);
  await fleet.killWorkers();
});

test("a job that a worker takes while it is being cancelled is no dead letter", async () => {
  const { client, jobId, go } = await heldJob("half cancelled");
  // The first step of it: the record, without the texts. A process that ends now never takes the second.
  const store = new ResultStore(fleet.redis, keysFor());
  await store.settleUnlocked({ model: "box", jobId }, { v: 1, state: "cancelled" });
  const before = await client.deadLetters.list("box");
  go();
  await expect.poll(() => fleet.redis.exists(`rankfleet:{box}:${jobId}`)).toBe(0);
  expect(await client.deadLetters.list("box")).toEqual(before);
  await fleet.killWorkers();
});

test("a job that reached the queue twice is no dead letter when it is met again, and leaves no texts", async () => {
  const { client, job, jobId, go } = await heldJob("sent twice");
  const data = JSON.parse((await fleet.redis.hget(`rankfleet:{box}:${jobId}`, "data"))!) as object;
  const texts = (await fleet.redis.getBuffer(keys.payload(jobId)))!;
  go();
  const { results } = await job.result();
  const before = await client.deadLetters.list("box");
  const queue = new Queue("{box}", { connection: fleet.redis, prefix: "rankfleet" });
  for (const isWithTexts of [false, true]) {
    if (isWithTexts) await fleet.redis.set(keys.payload(jobId), texts);
    await queue.add("rerank", data, { jobId, priority: 1, attempts: 3, removeOnComplete: true });
    await expect.poll(() => fleet.redis.exists(`rankfleet:{box}:${jobId}`)).toBe(0);
    expect(await client.deadLetters.list("box")).toEqual(before);
    expect((await client.job(job.id).result()).results).toEqual(results);
    expect(await fleet.redis.exists(keys.payload(jobId))).toBe(0);
  }
  await queue.close();
  await fleet.killWorkers();
});

test("a job that two try again at once is tried again once, and both are told so", async () => {
  await fleet.killWorkers();
  const client = fleet.client();
  const job = await client.enqueue(requests(1, 3)[0]!);
  const [jobId, queue] = [job.id.split("@")[0]!, "rankfleet:{box}"];
  await fleet.redis.zrem(`${queue}:prioritized`, jobId);
  await fleet.redis.zadd(`${queue}:failed`, 1, jobId);
  await fleet.redis.hset(`${queue}:${jobId}`, { finishedOn: 1, failedReason: "once" });
  const twice = [1, 2].map(() => client.deadLetters.redrive(job.id));
  expect(await Promise.all(twice)).toEqual(["redriven", "redriven"]);
  expect(await fleet.redis.zrange(`${queue}:prioritized`, "0", "-1")).toEqual([jobId]);
  expect(await job.cancel()).toBe(true);
});

test("who cancels a job too late does not take the texts from its dead letter", async () => {
  const client = fleet.client();
  await fleet.killWorkers();
  const worker = await fleet.worker();
  worker.child.kill("SIGSTOP");
  const [request] = requests(1, 40);
  const documents = request!.documents.map((each) => `${each as string} `.repeat(4));
  const job = await client.enqueue({ ...request!, documents });
  const payload = keys.payload(job.id.split("@")[0]!);
  await fleet.redis.set(payload, "no gzip");
  worker.child.kill("SIGCONT");
  await expect(job.result()).rejects.toMatchObject({ code: "payload_corrupt" });
  expect(await job.cancel()).toBe(false);
  expect(await fleet.redis.get(payload)).toBe("no gzip");
  await expect.poll(() => client.deadLetters.discard(job.id)).toBe(true);
});

test("a stranger's garbage can be looked at, exported and discarded, not redriven", async () => {
  const queue = new Queue(keys.queue("standard"), { connection: fleet.redis, prefix: "rankfleet" });
  const client = fleet.client();
  for (let i = 0; i < 5; i++) await queue.add("x", { garbage: i }, { jobId: `garbage-${i}` });
  await expect.poll(() => queue.getFailedCount(), { timeout: 10_000 }).toBe(5);
  expect((await client.deadLetters.list("box", { limit: 2 })).length).toBe(2);
  const file = join(folder, "dead.jsonl");
  await run("export", "--output", file);
  const lines = readFileSync(file, "utf8").trim().split("\n");
  expect(lines.map((line) => (JSON.parse(line) as { code: string }).code)).toEqual(
    Array.from({ length: 5 }, () => "invalid_request"),
  );
  // Who acts on what is exported shifts nothing from under it.
  const seen: string[] = [];
  for await (const { id } of client.deadLetters.export("box")) {
    seen.push(id);
    if (seen.length === 1) await client.deadLetters.discard("garbage-4@box");
  }
  expect(seen.length).toBeGreaterThanOrEqual(4);
  await queue.add("x", { garbage: 4 }, { jobId: "garbage-4" });
  await expect.poll(() => queue.getFailedCount(), { timeout: 10_000 }).toBe(5);
  await expect(run("redrive", "--all")).rejects.toMatchObject({ code: 1 });
  expect((await run("discard", "garbage-0@box")).stdout).toBe("1 discarded\n");
  expect((await run("discard", "--all", "--code", "invalid_request")).stdout).toBe("4 discarded\n");
  expect((await run("list")).stdout).toBe("nothing of box was given up\n");
  await expect(run("discard", "garbage-0@box")).rejects.toMatchObject({ code: 1 });
  await expect(run("discard")).rejects.toMatchObject({
    code: 2,
    stderr: expect.stringContaining("name the ids, or say --all") as string,
  });
  await expect(run("show", "nothing@box")).rejects.toMatchObject({
    code: 1,
    stderr: "error: nothing@box is not there; rankfleet dead list\n",
  });
  await queue.close();
});
