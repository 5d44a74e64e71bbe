import { Backlog, JobProducer, PartStore } from "@rankfleet/queue";
import { keysFor, PROTOCOL_VERSION } from "@rankfleet/queue/contract";
import type { RerankClient, RerankRequest, RerankResult } from "@rankfleet/sdk";
import { Queue } from "bullmq";
import { afterAll, beforeAll, beforeEach, expect, test, vi } from "vitest";
import { metric, stopBusy, TestFleet, type WorkerProcess } from "./support/fleet.ts";
import { simulatedFolder } from "./support/simulated.ts";
import { passages } from "./support/texts.ts";

/** Jobs of so many documents that they are cut into parts for several workers. */
const slow = { RANKFLEET_MODEL: `box,simulated=${simulatedFolder({ pairs_per_second: 500 })}` };

let fleet: TestFleet;
let client: RerankClient;
beforeAll(async () => {
  fleet = await TestFleet.start();
});
beforeEach(async () => {
  await fleet.killWorkers();
  await fleet.redis.flushall();
  client = fleet.client();
});
afterAll(() => fleet.stop());

function large(documents = 1000, query = "how do I keep this in order"): RerankRequest {
  return {
    query,
    documents: Array.from({ length: documents }, (_, i) => ({
      id: `d${i}`,
      text: `${passages[i % passages.length]!.slice(0, 300).padEnd(300, ".")} ${i}`,
      // As a first stage gives them, best first: so the parts' scores are all different.
      firstStageScore: 30 - 29 * Math.sqrt(i / documents),
    })),
  };
}

const leftovers = async (): Promise<string[]> =>
  (await fleet.redis.keys("*")).filter((key) => /:(?:payload|parts):/u.test(key));

const scores = ({ results }: RerankResult): unknown[] =>
  results
    .toSorted((a, b) => a.index - b.index)
    .map((each) =>
      each.error === undefined ? [each.id, each.logit, each.tokens] : each.error.code,
    );

test("several workers score one large job, and the result is that of one piece", async () => {
  const pieces = Array.from({ length: 10 }, (_, piece) => {
    const { query, documents } = large();
    return { query, documents: documents.slice(piece * 100, piece * 100 + 100) };
  });
  const workers = await Promise.all([fleet.worker(slow), fleet.worker(slow)]);
  const whole = await client.rerank({
    ...large(),
    model: "simulated",
    returnDocuments: true,
    topN: 7,
  });
  const shares = await Promise.all(
    workers.map((worker) => metric(worker, 'rankfleet_pairs_total{model="simulated"}')),
  );
  expect(shares.reduce((a, b) => a + b)).toBe(1000);
  expect(Math.min(...shares)).toBeGreaterThan(250);

  const results = await Promise.all(
    pieces.map((piece) => client.rerank({ ...piece, model: "simulated" })),
  );
  const best = results
    .flatMap((result) => result.results)
    .flatMap((each) => (each.error === undefined ? [each] : []))
    .toSorted((a, b) => b.logit - a.logit)
    .slice(0, 7);
  expect(whole.results.map(({ id }) => id)).toEqual(best.map(({ id }) => id));
  for (const each of whole.results) {
    if (each.error !== undefined) throw new Error(each.error.message);
    expect(each.document).toMatch(new RegExp(` ${each.index}$`, "u"));
  }
  expect(whole.usage.pairs).toBe(1000);
  // The caller hears of the result before its parts are swept away.
  await expect.poll(leftovers).toEqual([]);
});

test("first-stage scores are fused over all candidates, not over each part's", async () => {
  await fleet.worker();
  const { query, documents } = large(300);
  const whole = await client.rerank({ query, documents });
  expect(whole.isFused).toBe(true);
  const plain = documents.map((each) => {
    const { id, text } = each as { id: string; text: string };
    return { id, text };
  });
  const [firstHalf, secondHalf] = await Promise.all(
    [plain.slice(0, 150), plain.slice(150)].map((half) =>
      client.rerank({ query, documents: half }),
    ),
  );
  const logits = [...firstHalf!.results, ...secondHalf!.results].flatMap((each) =>
    each.error === undefined ? [[each.id, each.logit] as const] : [],
  );
  const merged = new Map(
    whole.results.flatMap((each) => (each.error === undefined ? [[each.id, each.logit]] : [])),
  );
  for (const [id, logit] of logits) expect(merged.get(id)).toBeCloseTo(logit, 4);
  expect(scores(whole)).toHaveLength(300);
});

test("a part whose worker is killed is scored again; the others are not, and nothing is lost", async () => {
  // What is known from a first time would hide a second one.
  const uncached = { ...slow, RANKFLEET_SCORE_CACHE_PAIRS: "0" };
  const [victim, other] = await Promise.all([fleet.worker(uncached), fleet.worker(uncached)]);
  const job = await client.enqueue({ ...large(), model: "simulated" });
  const partsOf = (worker: WorkerProcess): Promise<number> =>
    metric(worker, 'rankfleet_jobs_total{model="simulated",lane="standard",outcome="completed"}');
  await expect.poll(() => partsOf(victim), { interval: 10 }).toBeGreaterThan(0);
  const done = await partsOf(victim);
  expect(await metric(victim, 'rankfleet_jobs_in_hand{model="simulated"}')).toBeGreaterThan(0);
  victim.child.kill("SIGKILL");
  const result = await job.result();
  expect(result.results).toHaveLength(1000);
  expect(result.results.every((each) => each.error === undefined)).toBe(true);
  // Whoever hears of the last part's end counts it a moment later.
  await expect.poll(() => metric(other, 'rankfleet_jobs_in_hand{model="simulated"}')).toBe(0);
  // Of eight parts of 125 pairs, those that the victim had ended were left alone, and each other one was scored once.
  const taken = await partsOf(other);
  expect(taken).toBeLessThanOrEqual(8 - done);
  expect(await metric(other, 'rankfleet_pairs_total{model="simulated"}')).toBe(125 * taken);
  // The caller hears of the result before its parts are swept away.
  await expect.poll(leftovers).toEqual([]);
}, 30_000);

test("a part that cannot be scored costs its own documents", async () => {
  const worker = await fleet.worker(slow);
  worker.child.kill("SIGSTOP");
  const handle = await client.enqueue({ ...large(1000), model: "simulated" });
  const [id] = handle.id.split("@");
  // The texts of the third part are gone, as if somebody had flushed them.
  expect(await fleet.redis.del(keysFor().model("simulated").payload(`${id}~2`))).toBe(1);
  worker.child.kill("SIGCONT");
  const { results } = await handle.result();
  const failed = results.filter((each) => each.error !== undefined);
  expect(failed).toHaveLength(125);
  expect(failed[0]).toMatchObject({
    index: 250,
    id: "d250",
    error: { code: "payload_missing", field: "documents[250]" },
  });
}, 30_000);

test("cancelling a large job takes its parts out of the queue and frees their texts", async () => {
  const worker = await fleet.worker(slow);
  await stopBusy(worker, client, "simulated");
  const job = await client.enqueue({ ...large(), model: "simulated" });
  expect((await leftovers()).length).toBeGreaterThan(8);
  expect(await job.status()).toBe("waiting");
  expect(await job.cancel()).toBe(true);
  // The caller hears of the result before its parts are swept away.
  await expect.poll(leftovers).toEqual([]);
  worker.child.kill("SIGCONT");
  await expect(job.result()).rejects.toMatchObject({ code: "cancelled" });
});

test("a part that reaches the queue when its job has ended leaves no texts", async () => {
  const worker = await fleet.worker(slow);
  worker.child.kill("SIGSTOP");
  const job = await client.enqueue({ ...large(600), model: "simulated" });
  const id = `${job.id.split("@")[0]!}~1`;
  const keys = keysFor().model("simulated");
  const data = JSON.parse((await fleet.redis.hget(`${keys.base}:${id}`, "data"))!) as object;
  const texts = (await fleet.redis.getBuffer(keys.payload(id)))!;
  worker.child.kill("SIGCONT");
  await job.result();
  await expect.poll(leftovers).toEqual([]);
  // As when its producer was not told in time that all of it was queued, and began anew.
  const queue = new Queue(keys.queue("standard"), { connection: fleet.redis, prefix: "rankfleet" });
  await fleet.redis.set(keys.payload(id), texts);
  await queue.add("rerank", data, { jobId: id, priority: 1, removeOnComplete: true });
  await expect.poll(() => fleet.redis.exists(`${keys.base}:${id}`)).toBe(0);
  expect(await leftovers()).toEqual([]);
  await queue.close();
});

test("a part that is scored when its job has gone on leaves no texts", async () => {
  const part = { job: "gone", index: 3 };
  const payload = keysFor().model("simulated").payload("gone~3");
  await fleet.redis.set(payload, "texts");
  const failure = { code: "worker_failed", message: "over" } as const;
  const record = { state: "failed", from: 0, documents: 1, failure } as const;
  const store = new PartStore(fleet.redis, keysFor());
  expect(await store.settle("simulated", part, record)).toBe("gone");
  expect(await fleet.redis.exists(payload)).toBe(0);
});

test("a large job that ends while it is still being queued leaves no texts", async () => {
  const producer = new JobProducer(fleet.redis, keysFor());
  // As when it is forgotten as soon as it is begun.
  const begin = vi.spyOn(PartStore.prototype, "begin").mockResolvedValue();
  const documents = Array.from({ length: 300 }, (_, i) => `${i} `.repeat(300));
  const sizes = { documents: 300, characters: 300_000, lane: "standard", model: "none" } as const;
  const rest = { v: PROTOCOL_VERSION, options: {}, enqueuedAt: 0, replyTo: "nobody" } as const;
  await producer.add("ended", { ...sizes, ...rest }, { query: "q", documents });
  begin.mockRestore();
  expect(await leftovers()).toEqual([]);
  await producer.close();
});

test("a part that is met again when its cascade has gone on is no dead letter", async () => {
  const worker = await fleet.worker(slow);
  await client.rerank({ ...large(10), model: "simulated" });
  worker.child.kill("SIGSTOP");
  const { query, documents } = large(600);
  const stages = [{ model: "simulated", keep: 300 }, { model: "box" }];
  const job = await client.enqueue({ query, documents, stages });
  const [jobId] = job.id.split("@") as [string];
  // As when another worker has merged it and handed it on, and a repeat has queued its parts once more.
  await fleet.redis.del(...(await leftovers()));
  const sizes = { documents: 300, characters: 300, lane: "standard" } as const;
  await new Backlog(fleet.redis, keysFor()).admit(jobId, { model: "box", ...sizes }, false);
  worker.child.kill("SIGCONT");
  const queue = keysFor().model("simulated").base;
  await expect.poll(() => fleet.redis.keys(`${queue}:${jobId}~*`)).toEqual([]);
  expect(await fleet.redis.zcard(`${queue}:failed`)).toBe(0);
});

test("a large first stage of a cascade is scored in parts, and hands its best on", async () => {
  await fleet.worker(slow);
  const stages = [{ model: "box", keep: 10 }, { model: "simulated" }];
  const { query, documents } = large(600);
  const first = await client.rerank({ query, documents, topN: 10 });
  const result = await client.rerank({ query, documents, stages, returnDocuments: true });
  expect(new Set(result.results.map(({ id }) => id))).toEqual(
    new Set(first.results.map(({ id }) => id)),
  );
  expect(result.usage.pairs).toBe(610);
  // The caller hears of the result before its parts are swept away.
  await expect.poll(leftovers).toEqual([]);
});

test("an idempotent repeat of a large job is the same job", async () => {
  await fleet.worker(slow);
  const request = { ...large(600), model: "simulated", idempotencyKey: "once" };
  const jobs = await Promise.all([client.enqueue(request), client.enqueue(request)]);
  const results = await Promise.all(jobs.map((job) => job.result()));
  expect(results[0]!.id).toBe(results[1]!.id);
  expect((await client.enqueue(request)).id).toBe(results[0]!.id);
  const other = { ...request, query: "something else" };
  await expect(client.enqueue(other)).rejects.toMatchObject({ code: "idempotency_conflict" });
});

test("a large job whose parts Redis has forgotten meanwhile ends with a failure, and not without one", async () => {
  const worker = await fleet.worker(slow);
  await client.rerank({ ...large(10), model: "simulated" });
  worker.child.kill("SIGSTOP");
  const job = await client.enqueue({ ...large(600), model: "simulated" });
  await fleet.redis.del(keysFor().model("simulated").parts(job.id.split("@")[0]!));
  worker.child.kill("SIGCONT");
  await expect(job.result()).rejects.toMatchObject({ code: "payload_missing" });
});
