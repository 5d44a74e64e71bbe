import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { formatJobId, newJobId } from "@rankfleet/queue/contract";
import {
  ClientClosedError,
  DeadlineExceededError,
  JobCancelledError,
  JobNotFoundError,
  type RankedDocument,
} from "@rankfleet/sdk";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { cli, metric, TestFleet, type WorkerProcess } from "./support/fleet.ts";
import { passages, requests } from "./support/texts.ts";

let fleet: TestFleet;
let worker: WorkerProcess;
beforeAll(async () => {
  fleet = await TestFleet.start();
  worker = await fleet.worker();
});
afterAll(() => fleet.stop());

const query = "how do I descale a coffee machine";
const documents = [
  { id: "bike", text: "Oil the chain of the bike once a month." },
  {
    id: "descale",
    text: "To descale a coffee machine, run a descaling solution through it and rinse twice.",
  },
  { id: "empty", text: "" },
];

test("a request comes back ranked, with everything that a result has", async () => {
  const result = await fleet
    .client()
    .rerank({ query, documents, metadata: { batch: 7, of: "test" }, returnDocuments: true });
  const [best, second, failed] = result.results;
  expect(best).toMatchObject({
    index: 1,
    id: "descale",
    truncated: false,
    document: documents[1]!.text,
  });
  expect(second).toMatchObject({ index: 0, id: "bike" });
  expect(failed).toMatchObject({
    index: 2,
    id: "empty",
    error: { code: "invalid_document", field: "documents[2]" },
  });
  if (best?.error !== undefined || second?.error !== undefined) throw new Error("not scored");
  expect(best!.score).toBeCloseTo(1 / (1 + Math.exp(-best!.logit)), 12);
  expect(best!.logit).toBeGreaterThan(second!.logit);
  expect(result).toMatchObject({
    id: expect.stringMatching(/^[0-9a-f]{32}@box$/u) as string,
    model: "box",
    revision: expect.stringMatching(/^[0-9a-f]{12}$/u) as string,
    dtype: "int8",
    usage: { pairs: 2, tokens: best!.tokens + second!.tokens },
    metadata: { batch: 7, of: "test" },
  });
  for (const timing of Object.values(result.timings)) expect(timing).toBeGreaterThanOrEqual(0);
});

test("topN, rawScores and fields do what they say", async () => {
  const client = fleet.client();
  const top = await client.rerank({ query, documents: passages.slice(0, 10), topN: 3 });
  const raw = await client.rerank({ query, documents: passages.slice(0, 10), rawScores: true });
  expect(top.results).toEqual(
    raw.results
      .slice(0, 3)
      .map((document) => ({ ...document, score: expect.closeTo(sigmoid(document), 6) as number })),
  );
  const fields = await client.rerank({
    query,
    fields: ["title", "body"],
    documents: [{ title: "Descaling", body: "a coffee machine", text: "not this" }],
    returnDocuments: true,
  });
  expect(fields.results[0]).toMatchObject({ document: "Descaling\na coffee machine" });
});

function sigmoid(document: RankedDocument): number {
  return document.error === undefined ? 1 / (1 + Math.exp(-document.logit)) : Number.NaN;
}

test("a job is found again by its id, in another client and in another process", async () => {
  const job = await fleet.client().enqueue({ query, documents });
  const here = await fleet.client().job(job.id).result();
  const program = `
    import { RerankClient } from "@rankfleet/sdk";
    const client = new RerankClient({ redis: process.env.REDIS_URL });
    process.stdout.write(JSON.stringify(await client.job(process.argv[1]).result()));
    await client.close();`;
  const root = new URL("../..", import.meta.url).pathname;
  const { stdout } = await promisify(execFile)(
    process.execPath,
    ["--input-type=module", "-e", program, job.id],
    {
      cwd: root,
      env: { ...process.env, REDIS_URL: fleet.url },
    },
  );
  expect(JSON.parse(stdout)).toEqual(here);
  expect(await job.status()).toBe("completed");
  expect(await fleet.redis.pttl(`rankfleet:{box}:result:${job.id.split("@")[0]}`)).toBeGreaterThan(
    3_600_000,
  );
});

test("a worker that cannot have its port ends before it takes a job", async () => {
  const { port } = new URL(worker.url);
  const failed = promisify(execFile)(process.execPath, [cli, "worker", "--port", port], {
    env: { ...process.env, REDIS_URL: fleet.url },
    timeout: 20_000,
  });
  await expect(failed).rejects.toMatchObject({
    code: 1,
    stderr: expect.stringContaining("cannot listen on") as string,
  });
  expect(await fleet.redis.zcard("rankfleet:{box}:workers")).toBe(1);
});

test("an unknown job is not found, and an id of another form is none", async () => {
  const client = fleet.client();
  await expect(client.job("0123456789abcdef@box").result()).rejects.toBeInstanceOf(
    JobNotFoundError,
  );
  expect(await client.job("0123456789abcdef@box").status()).toBe("unknown");
  expect(() => client.job("nonsense")).toThrow(JobNotFoundError);
  expect(() => client.job("abc@a:b")).toThrow(JobNotFoundError);
  await expect(client.deadLetters.get("abc@a:b")).rejects.toBeInstanceOf(JobNotFoundError);
  // Whoever asks for jobs of models that nobody has heard of leaves nothing behind.
  expect(await client.job("abc@unheard").status()).toBe("unknown");
  expect(await client.deadLetters.get("abc@unheard")).toBeUndefined();
  expect(await client.deadLetters.list("unheard")).toEqual([]);
  expect(await fleet.redis.keys("*unheard*")).toEqual([]);
});

test("texts beyond 32 KB travel beside the job, packed, and are gone when it is settled", async () => {
  const client = fleet.client({ model: "nobody" });
  await fleet.redis.hset(
    "rankfleet:models",
    "nobody",
    JSON.stringify({ model: "nobody", revision: "", dtype: "", maxTokens: 1 }),
  );
  const large = Array.from({ length: 100 }, (_, i) => `${i} ${passages[i]!}`.repeat(3));
  const job = await client.enqueue({ query, documents: large });
  const [jobId] = job.id.split("@");
  const data = await fleet.redis.hget(`rankfleet:{nobody}:${jobId}`, "data");
  expect(data!.length).toBeLessThan(1000);
  const packed = await fleet.redis.strlen(`rankfleet:{nobody}:payload:${jobId}`);
  expect(packed).toBeLessThan(large.join("").length / 2);
  expect(await fleet.redis.pttl(`rankfleet:{nobody}:payload:${jobId}`)).toBeGreaterThan(0);
  expect(await job.cancel()).toBe(true);
  expect(
    await fleet.redis.exists(`rankfleet:{nobody}:payload:${jobId}`, `rankfleet:{nobody}:${jobId}`),
  ).toBe(0);

  const { results } = await fleet.client().rerank({ query, documents: large });
  expect(results).toHaveLength(100);
  expect(await fleet.redis.keys("rankfleet:{box}:payload:*")).toEqual([]);
});

describe("a job that waits", () => {
  const model = "later";
  beforeAll(async () => {
    await fleet.redis.hset(
      "rankfleet:models",
      model,
      JSON.stringify({ model, revision: "", dtype: "", maxTokens: 1 }),
    );
  });

  test("can be cancelled from any client: whoever waits hears of it", async () => {
    const job = await fleet.client().enqueue({ query, documents, model });
    expect(await job.status()).toBe("waiting");
    const waiting = job.result();
    const heard = expect(waiting).rejects.toBeInstanceOf(JobCancelledError);
    expect(await fleet.client().job(job.id).cancel()).toBe(true);
    await heard;
    expect(await job.status()).toBe("cancelled");
    expect(await job.cancel()).toBe(false);
  });

  test("ends for its caller at the deadline", async () => {
    const client = fleet.client();
    const late = client.rerank({ query, documents, model, deadline: Date.now() + 300 });
    await expect(late).rejects.toBeInstanceOf(DeadlineExceededError);
    await expect(client.rerank({ query, documents, deadline: new Date(0) })).rejects.toBeInstanceOf(
      DeadlineExceededError,
    );
  });

  test("that ended in time has its result also after the deadline", async () => {
    const client = fleet.client();
    const deadline = Date.now() + 3_000;
    const job = await client.enqueue({ query, documents, deadline });
    await expect.poll(() => job.status(), { timeout: 5_000 }).toBe("completed");
    await new Promise((resolve) => setTimeout(resolve, deadline - Date.now() + 100));
    expect((await job.result()).results).toHaveLength(3);
  });

  test("is cancelled when the caller's signal aborts", async () => {
    const controller = new AbortController();
    const client = fleet.client();
    const waiting = client.rerank(
      { query, documents, model, idempotencyKey: "aborted" },
      { signal: controller.signal },
    );
    setTimeout(() => controller.abort(new Error("enough")), 200);
    await expect(waiting).rejects.toThrow("enough");
    const id = formatJobId(newJobId({ key: "aborted", models: [model] }), [model]);
    expect(await client.job(id).status()).toBe("cancelled");
    const again = await client.enqueue({ query, documents, model, idempotencyKey: "aborted" });
    expect(again.id).not.toBe(id);
    expect(await again.status()).toBe("waiting");
    expect(await client.job(id).status()).toBe("cancelled");
  });

  test("is not cancelled by a caller that met it under its key", async () => {
    const controller = new AbortController();
    const request = { query, documents, model, idempotencyKey: "shared" };
    const job = await fleet.client().enqueue(request);
    const met = fleet.client().rerank(request, { signal: controller.signal });
    const late = fleet.client().rerank({ ...request, deadline: Date.now() + 300 });
    setTimeout(() => controller.abort(new Error("enough")), 200);
    await expect(met).rejects.toThrow("enough");
    await expect(late).rejects.toBeInstanceOf(DeadlineExceededError);
    expect(await job.status()).toBe("waiting");
  });

  test("survives its client, whose own waits end", async () => {
    const client = fleet.client();
    const job = await client.enqueue({ query, documents, model });
    const waiting = expect(job.result()).rejects.toBeInstanceOf(ClientClosedError);
    await client.close();
    await waiting;
    await expect(client.rerank({ query, documents })).rejects.toBeInstanceOf(ClientClosedError);
    expect(await fleet.client().job(job.id).status()).toBe("waiting");
  });

  test("is done once a worker for its model starts", async () => {
    const job = await fleet.client().enqueue({ query, documents, model });
    const box = new URL("../../models/box", import.meta.url).pathname;
    const late = await fleet.worker({ RANKFLEET_MODEL: `${model}=${box}` });
    expect((await job.result()).model).toBe(model);
    late.child.kill("SIGTERM");
    expect(await late.ended).toBe(0);
  });
});

test("a big job is spread over many batches, and comes back whole", async () => {
  const before = await metric(worker, 'rankfleet_batches_total{model="box"}');
  const many = Array.from({ length: 1000 }, (_, i) => `${i}: ${passages[i % passages.length]!}`);
  const { results, usage } = await fleet.client().rerank({ query, documents: many });
  expect(usage.pairs).toBe(1000);
  expect(new Set(results.map(({ index }) => index)).size).toBe(1000);
  expect((await metric(worker, 'rankfleet_batches_total{model="box"}')) - before).toBeGreaterThan(
    10,
  );
});

test("many small jobs share batches, with little padding", async () => {
  const series = {
    batches: 'rankfleet_batches_total{model="box"}',
    real: 'rankfleet_tokens_total{model="box",kind="real"}',
    padded: 'rankfleet_tokens_total{model="box",kind="padded"}',
  };
  const read = async (): Promise<number[]> =>
    Promise.all(Object.values(series).map((name) => metric(worker, name)));
  const before = await read();
  const client = fleet.client();
  await Promise.all(requests(400, 3).map((request) => client.rerank(request)));
  const [batches = 0, real = 0, padded = 0] = (await read()).map((value, i) => value - before[i]!);
  expect(batches).toBeLessThan(400);
  expect(real / padded).toBeGreaterThan(0.9);
});

test("a request's own warning about depth is given once, and can be silenced", async () => {
  const warnings: string[] = [];
  const listen = ({ code }: Error & { code?: string }): void => void warnings.push(code ?? "");
  process.on("warning", listen);
  const many = passages.slice(0, 101);
  await fleet.client().rerank({ query, documents: many });
  expect(warnings).toEqual([]);
  const client = fleet.client({ warnAboveDocuments: 100 });
  await client.rerank({ query, documents: many });
  await client.rerank({ query, documents: many });
  process.off("warning", listen);
  expect(warnings).toEqual(["RANKFLEET_DEPTH"]);
});

test("health, readiness and errors of the worker are told over HTTP", async () => {
  expect((await fetch(`${worker.url}/healthz`)).status).toBe(200);
  expect((await fetch(`${worker.url}/readyz`)).status).toBe(200);
  expect(
    await metric(worker, 'rankfleet_jobs_total{model="box",lane="standard",outcome="completed"}'),
  ).toBeGreaterThan(0);
});
