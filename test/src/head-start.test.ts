import { setTimeout as sleep } from "node:timers/promises";
import { Backlog, ResultStore } from "@rankfleet/queue";
import { keysFor, PROTOCOL_VERSION, type JobEnvelope } from "@rankfleet/queue/contract";
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import { metric, TestFleet, type WorkerProcess } from "./support/fleet.ts";
import { requests } from "./support/texts.ts";

/** A job that finds the fleet idle is begun by a worker before the queue hands it out. */

let fleet: TestFleet;
beforeAll(async () => {
  fleet = await TestFleet.start();
});
beforeEach(async () => {
  await fleet.killWorkers();
  await fleet.redis.flushall();
});
afterAll(() => fleet.stop());

const keys = keysFor();
const ofBox = (worker: WorkerProcess, series: string): Promise<number> =>
  metric(worker, `${series}{model="box"}`);
const jobs = (worker: WorkerProcess, outcome: string): Promise<number> =>
  metric(worker, `rankfleet_jobs_total{model="box",lane="standard",outcome="${outcome}"}`);
const sum = (numbers: number[]): number => numbers.reduce((total, each) => total + each, 0);

/** How often each job's record was written, from now on. */
async function watchRecords(): Promise<Map<string, number>> {
  const records = new Map<string, number>();
  const subscriber = fleet.redis.duplicate();
  subscriber.on("pmessage", (_pattern: string, _channel: string, news: string) => {
    const [job = "", record] = news.split(" ", 2);
    if (record !== undefined) records.set(job, (records.get(job) ?? 0) + 1);
  });
  subscriber.on("error", () => {});
  await subscriber.psubscribe("*:ended:*");
  return records;
}

test.each([1, 2])(
  "requests one at a time, %d workers: begun ahead, each written once",
  async (count) => {
    const workers = await Promise.all(Array.from({ length: count }, () => fleet.worker()));
    const client = fleet.client();
    const records = await watchRecords();
    const all = requests(20, 5);
    const results = [];
    for (const request of all) results.push(await client.rerank(request));
    // The whole of them at once find no idle fleet, and come to the same scores.
    const again = await Promise.all(all.map((request) => client.rerank(request)));
    expect(results.map((each) => each.results)).toEqual(again.map((each) => each.results));

    expect(records.size).toBe(40);
    expect(new Set(records.values())).toEqual(new Set([1]));
    const begun = await Promise.all(
      workers.map((each) => ofBox(each, "rankfleet_head_starts_total")),
    );
    // The first one finds out that nothing is queued, and who is alive.
    expect(sum(begun)).toBeGreaterThan(10);
    const completed = await Promise.all(workers.map((each) => jobs(each, "completed")));
    expect(sum(completed)).toBe(40);
    await expect.poll(() => client.backlog()).toMatchObject({ pairs: 0, bytes: 0 });
  },
);

/** As the SDK makes it, to be told to a worker by hand. */
function jobOf({ query, documents }: { query: string; documents: unknown }): JobEnvelope {
  const json = JSON.stringify({ query, documents });
  return {
    v: PROTOCOL_VERSION,
    model: "box",
    documents: (documents as string[]).length,
    characters: json.length,
    payload: { json },
    options: {},
    lane: "standard",
    enqueuedAt: Date.now(),
    replyTo: "nobody",
  };
}

test("a record is written ahead for a job that is queued, and for no other", async () => {
  await fleet.worker();
  const [workerId] = await fleet.redis.zrange(keys.model("box").workers, "0", "0");
  const backlog = new Backlog(fleet.redis, keys);
  const store = new ResultStore(fleet.redis, keys);
  const job = jobOf(requests(1, 3)[0] as { query: string; documents: string[] });
  const tell = (jobId: string): Promise<number> =>
    fleet.redis.publish(keys.ahead(workerId!), `box ${jobId} ${JSON.stringify(job)}`);

  await backlog.admit("queued", job);
  await tell("queued");
  await expect.poll(() => store.read("box", "queued")).toMatchObject({ state: "completed" });
  expect(await backlog.queued("box")).toEqual({ pairs: 0, bytes: 0 });

  // It was settled, and its record may be gone: nobody may write it again.
  await fleet.redis.del(keys.model("box").result("queued"));
  await tell("queued");
  await tell("never queued");
  await sleep(300);
  expect(await store.read("box", "queued")).toBeUndefined();
  expect(await store.read("box", "never queued")).toBeUndefined();
});

test("news that is no job disturbs nobody", async () => {
  const worker = await fleet.worker();
  const [workerId] = await fleet.redis.zrange(keys.model("box").workers, "0", "0");
  const job = jobOf(requests(1, 3)[0] as { query: string; documents: string[] });
  for (const news of [
    "",
    "box",
    "box 1 {",
    "box 2 null",
    'box 3 {"v":99}',
    `other 4 ${JSON.stringify(job)}`,
    `box 5 ${JSON.stringify({ ...job, payload: { json: "{" } })}`,
    `box 6 ${JSON.stringify({ ...job, payload: { claim: "rankfleet:{box}:payload:6" } })}`,
    `box 7 ${JSON.stringify({ ...job, revision: "another" })}`,
    `box 8 ${JSON.stringify({ ...job, deadline: Date.now() - 1 })}`,
  ]) {
    await fleet.redis.publish(keys.ahead(workerId!), news);
  }
  const { results } = await fleet.client().rerank(requests(1, 3)[0]!);
  expect(results).toHaveLength(3);
  expect(worker.child.exitCode).toBeNull();
  expect(await fleet.redis.keys("*:result:?")).toEqual([]);
});

test("a document that cannot be scored is left to the delivery, and costs only itself", async () => {
  const worker = await fleet.worker();
  const client = fleet.client();
  const [request] = requests(1, 3);
  const tooLong = request!.documents.map((text) => `${text as string} `.repeat(30));
  const documents = [request!.documents[0]!, tooLong[1]!, request!.documents[2]!];
  for (let i = 0; i < 3; i++) {
    const { results } = await client.rerank({ ...request!, documents, longDocuments: "refuse" });
    expect(results.filter(({ error }) => error === undefined)).toHaveLength(2);
    expect(results.at(-1)).toMatchObject({ index: 1, error: { code: "document_too_long" } });
  }
  expect(await ofBox(worker, "rankfleet_head_starts_total")).toBe(0);
  const failed = 'rankfleet_documents_total{model="box",outcome="failed"}';
  expect(await metric(worker, failed)).toBe(3);
  await expect.poll(() => client.backlog()).toMatchObject({ pairs: 0, bytes: 0 });
});
