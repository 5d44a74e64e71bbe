import { JobProducer, ResultStore } from "@rankfleet/queue";
import { keysFor, newJobId, PROTOCOL_VERSION } from "@rankfleet/queue/contract";
import {
  DeadlineExceededError,
  type RerankClient,
  type RerankRequest,
  type RerankResult,
} from "@rankfleet/sdk";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { TestFleet, type WorkerProcess } from "./support/fleet.ts";
import { simulatedFolder } from "./support/simulated.ts";
import { passages, requests } from "./support/texts.ts";

/** Idempotency keys: repeats, conflicts, jobs that are made again, and keys that are shared. */
const slow = simulatedFolder({ pairs_per_second: 500 });

let fleet: TestFleet;
let simClient: RerankClient;
let worker: WorkerProcess;
beforeAll(async () => {
  fleet = await TestFleet.start();
  worker = await fleet.worker({ RANKFLEET_MODEL: `box,sim=${slow},other=${slow}` });
  simClient = fleet.client({ model: "sim" });
});
afterAll(() => fleet.stop());

const query = "how do I descale a coffee machine";
const documents = passages.slice(0, 3).map((text, i) => ({ id: `d${i}`, text }));

const logits = ({ results }: RerankResult): (number | undefined)[] =>
  results
    .toSorted((a, b) => a.index - b.index)
    .map((each) => (each.error === undefined ? each.logit : undefined));

/** Enough for several parts. */
const large = (question: string): RerankRequest => ({
  query: question,
  model: "box",
  documents: Array.from({ length: 300 }, (_, i) => `${i} ${passages[i % passages.length]!}`),
});

test("one key for two models is two jobs, each with its own result", async () => {
  const [request] = requests(1, 20);
  const results = await Promise.all(
    ["box", "other"].map((model) =>
      simClient.rerank({ ...request!, model, idempotencyKey: "for both" }),
    ),
  );
  expect(results.map(({ model }) => model)).toEqual(["box", "other"]);
});

test("a large job that was cancelled in the middle is made again for another request, and gets that one's scores", async () => {
  const wanted = await simClient.rerank(large("which fish live in cold water"));
  for (let round = 0; round < 3; round++) {
    const key = { idempotencyKey: `large ${round}` };
    const first = await simClient.enqueue({ ...large(`how do I bake bread, ${round}`), ...key });
    await expect.poll(() => first.status(), { interval: 5 }).toBe("active");
    expect(await first.cancel()).toBe(true);
    const again = await simClient.rerank({ ...large("which fish live in cold water"), ...key });
    expect(logits(again)).toEqual(logits(wanted));
  }
});

test("of two that make a cancelled job again at once with other requests, one is the job and keeps it", async () => {
  const [second, third] = requests(2, 20);
  // Half a second's work, so that it is cancelled before it is done.
  const [first] = requests(1, 250);
  for (let round = 0; round < 5; round++) {
    const key = { idempotencyKey: `race ${round}` };
    const job = await simClient.enqueue({ ...first!, ...key });
    expect(await job.cancel()).toBe(true);
    const made = await Promise.allSettled(
      [second!, third!].map((request) =>
        fleet.client({ model: "sim" }).enqueue({ ...request, ...key }),
      ),
    );
    const accepted = made.flatMap((each) => (each.status === "fulfilled" ? [each.value] : []));
    const refused = made.flatMap((each) => (each.status === "rejected" ? [each.reason] : []));
    expect(accepted).toHaveLength(1);
    expect(refused).toMatchObject([{ code: "idempotency_conflict" }]);
    expect((await accepted[0]!.result()).results).toHaveLength(20);
  }
});

/** As the SDK makes it of a request, but for a model that no worker serves. */
const envelope = {
  v: PROTOCOL_VERSION,
  model: "first",
  documents: 300,
  characters: 3000,
  options: {},
  lane: "standard",
  enqueuedAt: 0,
  replyTo: "nobody",
  digest: "d",
} as const;
const manyTexts = { query, documents: Array.from({ length: 300 }, (_, i) => `text ${i}`) };

test("a keyed cascade is known also while a later stage of it is scored in parts", async () => {
  const producer = new JobProducer(fleet.redis, keysFor());
  const id = newJobId({ key: "cascade", models: ["first", "second"] });
  const begun = { documents: 300, failures: {}, past: [], pairs: 0 };
  const request = { ...envelope, cascade: { ...begun, keep: 300, next: [{ model: "second" }] } };
  const handedOn = { ...envelope, model: "second", cascade: { ...begun, next: [] } };
  await producer.add(id, handedOn, manyTexts, { isContinuation: true });
  expect(await producer.add(id, request, manyTexts)).toEqual({ jobId: id, isRepeat: true });
  await expect(producer.add(id, { ...request, digest: "other" }, manyTexts)).rejects.toMatchObject({
    code: "idempotency_conflict",
  });
  await producer.close();
});

test("a keyed job that ends while it is looked for is found", async () => {
  const producer = new JobProducer(fleet.redis, keysFor());
  const store = new ResultStore(fleet.redis, keysFor());
  const id = newJobId({ key: "ends", models: ["first"] });
  const few = { query, documents: ["one"] };
  await producer.add(id, envelope, few);
  const end = async (): Promise<void> => {
    const failure = { code: "worker_failed", message: "over" } as const;
    const record = { v: PROTOCOL_VERSION, state: "failed", failure, digest: "d" } as const;
    await store.settleUnlocked({ model: "first", jobId: id }, record);
    const queues = keysFor().model("first").queues;
    await fleet.redis.del(...queues.map((queue) => `rankfleet:${queue}:${id}`));
  };
  // Its record had been asked for by then, if that were the first question.
  const look = fleet.redis.hgetall.bind(fleet.redis);
  let ended: Promise<void> | undefined;
  const spy = vi.spyOn(fleet.redis, "hgetall").mockImplementation((async (key: string) => {
    await (ended ??= end());
    return look(key);
  }) as never);
  expect(await producer.add(id, envelope, few)).toEqual({ jobId: id, isRepeat: true });
  spy.mockRestore();
  await producer.close();
});

test("the same idempotency key is the same job, and refuses another request", async () => {
  const client = fleet.client();
  const [first, second] = await Promise.all([
    client.enqueue({ query, documents, idempotencyKey: "order-1" }),
    client.enqueue({ query, documents, idempotencyKey: "order-1" }),
  ]);
  expect(first.id).toBe(second.id);
  expect(await first.result()).toEqual(await second.result());
  const repeat = await fleet.client().enqueue({ query, documents, idempotencyKey: "order-1" });
  expect(await repeat.result()).toEqual(await first.result());
  const renamed = documents.map(({ text }, i) => ({ id: `other ${i}`, text }));
  for (const other of [
    { query: "something else", documents },
    { query, documents: renamed },
  ]) {
    await expect(client.enqueue({ ...other, idempotencyKey: "order-1" })).rejects.toMatchObject({
      code: "idempotency_conflict",
      field: "idempotencyKey",
    });
  }
  const tenant = await client.enqueue({
    query,
    documents,
    idempotencyKey: "order-1",
    tenant: "acme",
  });
  expect(tenant.id).not.toBe(first.id);
});

test("a request that was too late may be made again under its key", async () => {
  const client = fleet.client();
  worker.child.kill("SIGSTOP");
  const request = { query, documents, idempotencyKey: "late" };
  const late = client.rerank({ ...request, deadline: Date.now() + 300 });
  await expect(late).rejects.toBeInstanceOf(DeadlineExceededError);
  worker.child.kill("SIGCONT");
  expect((await client.rerank(request)).results).toHaveLength(3);
});

test("a key is free again once its failed result is forgotten, also while its dead letter is kept", async () => {
  const client = fleet.client();
  for (const count of [3, 300]) {
    const texts = Array.from({ length: count }, (_, i) => `${i} ${passages[i % 20]!}`.repeat(2));
    const request = { query, documents: texts, idempotencyKey: `failed ${count}` };
    await client.rerank({ query: `${query} ${count}`, documents: texts });
    const keys = keysFor().model("box");
    const jobId = newJobId({ key: request.idempotencyKey, models: ["box"] });
    // As a dead letter of a day ago stands there: given up, its record gone.
    const letterId = count === 3 ? jobId : `${jobId}~0`;
    const base = `rankfleet:${keys.queue("standard")}`;
    const at = Date.now() - 24 * 3600 * 1000;
    await fleet.redis.hset(`${base}:${letterId}`, {
      name: "rerank",
      data: "{}",
      opts: "{}",
      timestamp: at,
      finishedOn: at,
      failedReason: "given up",
    });
    await fleet.redis.zadd(`${base}:failed`, at, letterId);
    expect((await client.rerank(request)).results).toHaveLength(count);
  }
});

test("of two requests that come under one key at once, one is the job and the other is refused", async () => {
  const texts = Array.from({ length: 60 }, (_, i) => `${i} ${passages[i]!}`.repeat(4));
  const client = fleet.client();
  await client.rerank({ query, documents });
  const [first, second] = await Promise.allSettled([
    client.rerank({ query, documents: texts, idempotencyKey: "both" }),
    client.rerank({ query, documents: texts.slice(0, 50), idempotencyKey: "both" }),
  ]);
  if (first.status === "rejected") throw first.reason;
  expect(first.value.results).toHaveLength(60);
  expect(second).toMatchObject({ reason: { code: "idempotency_conflict" } });
});
