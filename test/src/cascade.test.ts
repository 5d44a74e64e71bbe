import { fileURLToPath } from "node:url";
import type { RerankClient, RerankResult } from "@rankfleet/sdk";
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import { TestFleet, type WorkerProcess } from "./support/fleet.ts";
import { requests } from "./support/texts.ts";

/** The model in the box in front, a tiny random one of XLM-R's layout behind it. */
const tiny = fileURLToPath(new URL("../fixtures/tiny-xlm-r", import.meta.url));
const both = { RANKFLEET_MODEL: `box,tiny=${tiny}` };
const stages = [{ model: "box", keep: 4 }, { model: "tiny" }];

let fleet: TestFleet;
let client: RerankClient;
let worker: WorkerProcess;
beforeAll(async () => {
  fleet = await TestFleet.start();
});
beforeEach(async () => {
  await fleet.killWorkers();
  await fleet.redis.flushall();
  worker = await fleet.worker(both);
  client = fleet.client();
});
afterAll(() => fleet.stop());

const indices = (result: RerankResult): number[] => result.results.map(({ index }) => index);

test("the first model's best go to the second, whose scores and places in the request come back", async () => {
  const [request] = requests(1, 12);
  const documents = request!.documents.map((text, i) => ({ id: `d${i}`, text: text as string }));
  const first = await client.rerank({ ...request!, documents, topN: 4 });
  const alone = await client.rerank({ ...request!, documents, model: "tiny" });
  const result = await client.rerank({ ...request!, documents, stages, returnDocuments: true });
  expect(result.model).toBe("tiny");
  expect(new Set(indices(result))).toEqual(new Set(indices(first)));
  for (const document of result.results) {
    if (document.error !== undefined) throw new Error(document.error.message);
    const same = alone.results.find(({ index }) => index === document.index)!;
    expect(document.logit).toBeCloseTo(same.error === undefined ? same.logit : Number.NaN, 4);
    expect(document.id).toBe(`d${document.index}`);
    expect(document.document).toBe(documents[document.index]!.text);
  }
  // Both stages' pairs had been scored before, by the two requests above.
  expect(result.usage).toMatchObject({ pairs: 16, cachedPairs: 16 });
  const ofLast = result.results.reduce((sum, each) => sum + (each.error ? 0 : each.tokens), 0);
  expect(result.usage.tokens).toBe(first.usage.tokens + ofLast);
});

test("a document that the first stage could not score is an item of the result, at its place", async () => {
  const [request] = requests(1, 6);
  const documents = [...request!.documents.slice(0, 2), " ", ...request!.documents.slice(2)];
  const { results } = await client.rerank({ ...request!, documents, stages });
  expect(results.at(-1)).toMatchObject({
    index: 2,
    error: { code: "invalid_document", field: "documents[2]" },
  });
  expect(results).toHaveLength(5);
});

test("where the first stage can score nothing, the job ends with what was wrong with each", async () => {
  const [request] = requests(1, 4);
  const documents = request!.documents.map((text) => `${text as string} `.repeat(40));
  const refused = { ...request!, documents, longDocuments: "refuse" } as const;
  const { results, usage } = await client.rerank({ ...refused, stages });
  expect(results.map(({ index, error }) => [index, error?.code])).toEqual(
    documents.map((_, index) => [index, "document_too_long"]),
  );
  expect(usage.pairs).toBe(0);
  await expect.poll(() => client.backlog("box")).toMatchObject({ pairs: 0 });
});

test("a job that is given up in its first stage keeps its texts, as a dead letter", async () => {
  const [request] = requests(1, 8);
  const documents = request!.documents.map((text) => `${text as string} ${"pad ".repeat(2000)}`);
  worker.child.kill("SIGSTOP");
  const job = await client.enqueue({ ...request!, documents, stages });
  const payload = `rankfleet:{box}:payload:${job.id.split("@")[0]}`;
  await fleet.redis.set(payload, "no gzip");
  worker.child.kill("SIGCONT");
  await expect(job.result()).rejects.toMatchObject({ code: "payload_corrupt" });
  await expect.poll(() => client.backlog("box")).toMatchObject({ pairs: 0 });
  expect(await fleet.redis.get(payload)).toBe("no gzip");
  await expect.poll(() => client.deadLetters.list("box")).toHaveLength(1);
});

test("texts too large for the job travel beside it from stage to stage, and leave nothing behind", async () => {
  const [request] = requests(1, 8);
  const documents = request!.documents.map(
    (text) => `${text as string} ${"padding ".repeat(2000)}`,
  );
  const { results } = await client.rerank({
    ...request!,
    documents,
    stages,
    maxTokensPerDocument: 60,
  });
  expect(results).toHaveLength(4);
  // The caller hears of the result before its texts are swept away.
  await expect.poll(() => fleet.redis.keys("*:payload:*")).toEqual([]);
});

test("a stage's texts stay until the whole job is settled, since it may be delivered again after handing on", async () => {
  const [request] = requests(1, 8);
  const documents = request!.documents.map(
    (text) => `${text as string} ${"padding ".repeat(2000)}`,
  );
  await fleet.killWorkers();
  await fleet.worker(); // Serves the first stage alone; the second model's offer is still known.
  const job = await client.enqueue({ ...request!, documents, stages, maxTokensPerDocument: 60 });
  const jobId = job.id.split("@")[0]!;
  await expect
    .poll(() => fleet.redis.exists(`rankfleet:{tiny}:${jobId}`), { timeout: 10_000 })
    .toBe(1);
  expect(await fleet.redis.exists(`rankfleet:{box}:payload:${jobId}`)).toBe(1);
  await fleet.worker(both);
  expect((await job.result()).results).toHaveLength(4);
  await expect.poll(() => fleet.redis.keys("*:payload:*")).toEqual([]);
});

test("it can be found again by its id, cancelled in any stage, and made again under its key", async () => {
  const [request] = requests(1, 8);
  const job = await client.enqueue({ ...request!, stages, idempotencyKey: "once" });
  expect(job.id).toMatch(/@box>tiny$/u);
  const result = await client.job(job.id).result();
  expect(await job.status()).toBe("completed");
  const again = await client.rerank({ ...request!, stages, idempotencyKey: "once" });
  expect(again.timings).toEqual(result.timings);

  worker.child.kill("SIGSTOP");
  const cancelled = await client.enqueue({ ...request!, stages });
  expect(await cancelled.cancel()).toBe(true);
  worker.child.kill("SIGCONT");
  await expect(cancelled.result()).rejects.toMatchObject({ code: "cancelled" });
  expect(await cancelled.status()).toBe("cancelled");
});

test("a bulk of cascades loses nothing when a worker is killed half way", async () => {
  await fleet.worker(both);
  const bulk = requests(60, 20).map((request) => ({ ...request, stages }));
  let isFirst = true;
  const seen = new Set<number>();
  for await (const { index, result, error } of client.rerankMany(bulk)) {
    if (isFirst) worker.child.kill("SIGKILL");
    isFirst = false;
    if (error !== undefined) throw error;
    expect(result.results).toHaveLength(4);
    seen.add(index);
  }
  expect(seen.size).toBe(60);
});

test("a model that nobody serves is refused before anything is enqueued", async () => {
  const [request] = requests(1, 3);
  await expect(
    fleet
      .client({ modelWaitMs: 0 })
      .rerank({ ...request!, stages: [{ model: "box", keep: 1 }, { model: "absent" }] }),
  ).rejects.toMatchObject({ code: "model_not_served", model: "absent" });
});
