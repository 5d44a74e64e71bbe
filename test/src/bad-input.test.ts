import { gzipSync } from "node:zlib";
import { keysFor } from "@rankfleet/queue/contract";
import {
  RankfleetError,
  RerankClient,
  type RerankClientOptions,
  type RerankRequest,
} from "@rankfleet/sdk";
import { Queue } from "bullmq";
import { afterAll, beforeAll, expect, test } from "vitest";
import { TestFleet } from "./support/fleet.ts";

let fleet: TestFleet;
beforeAll(async () => {
  fleet = await TestFleet.start();
  await fleet.worker();
});
afterAll(() => fleet.stop());

const good: RerankRequest = {
  query: "how to boil an egg",
  documents: ["Boil the egg for six minutes.", "Eggs are laid by hens."],
};

/** Requests as untyped callers send them. */
const refused: { name: string; request: unknown; code?: string; field: string }[] = [
  { name: "nothing", request: undefined, field: "request" },
  { name: "null", request: null, field: "request" },
  { name: "a string", request: "query", field: "request" },
  { name: "no query", request: { documents: ["a"] }, field: "query" },
  { name: "an empty query", request: { ...good, query: "" }, field: "query" },
  { name: "a blank query", request: { ...good, query: " \n" }, field: "query" },
  { name: "a query that is a number", request: { ...good, query: 7 }, field: "query" },
  { name: "a lone surrogate in the query", request: { ...good, query: "q\uD800" }, field: "query" },
  { name: "no documents", request: { query: "q" }, field: "documents" },
  { name: "an empty list", request: { query: "q", documents: [] }, field: "documents" },
  { name: "a text for a list", request: { query: "q", documents: "abc" }, field: "documents" },
  {
    name: "a number for the only document",
    request: { query: "q", documents: [3] },
    field: "documents[0]",
  },
  {
    name: "null for the only document",
    request: { query: "q", documents: [null] },
    field: "documents[0]",
  },
  {
    name: "an object without text for the only document",
    request: { query: "q", documents: [{ id: "x" }] },
    field: "documents[0].text",
  },
  {
    name: "a text that is a number",
    request: { query: "q", documents: [{ text: 5 }] },
    field: "documents[0].text",
  },
  {
    name: "an id that is a number",
    request: { query: "q", documents: [{ id: 5, text: "a" }] },
    field: "documents[0].id",
  },
  {
    name: "only an empty document",
    request: { query: "q", documents: [""] },
    field: "documents[0]",
  },
  {
    name: "only lone surrogates",
    request: { query: "q", documents: ["\uD800"] },
    field: "documents[0]",
  },
  { name: "an unknown field", request: { ...good, topK: 3 }, field: "topK" },
  { name: "topN of 0", request: { ...good, topN: 0 }, field: "topN" },
  { name: "topN of one half", request: { ...good, topN: 0.5 }, field: "topN" },
  { name: "an unknown lane", request: { ...good, priority: "urgent" }, field: "priority" },
  {
    name: "an unknown way with long documents",
    request: { ...good, longDocuments: "chunk" },
    field: "longDocuments",
  },
  { name: "an unknown truncation", request: { ...good, truncation: "left" }, field: "truncation" },
  {
    name: "a deadline that is a word",
    request: { ...good, deadline: "tomorrow" },
    field: "deadline",
  },
  {
    name: "a deadline that is no date",
    request: { ...good, deadline: new Date("x") },
    field: "deadline",
  },
  {
    name: "metadata with an object in it",
    request: { ...good, metadata: { a: {} } },
    field: "metadata.a",
  },
  { name: "a model that is no name", request: { ...good, model: "a b" }, field: "model" },
  {
    name: "an unknown model",
    request: { ...good, model: "nope" },
    code: "model_not_served",
    field: "model",
  },
  {
    name: "too long a query for only_second",
    request: { ...good, query: "egg ".repeat(600), truncation: "only_second" },
    code: "query_too_long",
    field: "query",
  },
];

test.each(refused)(
  "$name is refused, naming $field",
  async ({ request, code = "invalid_request", field }) => {
    const client = fleet.client({ modelWaitMs: 0 });
    const [bad, fine] = await Promise.allSettled([
      client.rerank(request as RerankRequest),
      client.rerank(good),
    ]);
    expect(fine.status).toBe("fulfilled");
    if (bad.status === "fulfilled") throw new Error("was accepted");
    expect(RankfleetError.isInstance(bad.reason)).toBe(true);
    expect(bad.reason).toMatchObject({
      code,
      field,
      message: expect.stringContaining(field) as string,
    });
  },
);

test.each([
  [{ redis: 5 }, "redis"],
  [{ redis: { url: "redis://127.0.0.1" } }, "redis"],
  [{ redis: "somewhere" }, "redis"],
  [{ prefix: "a:b" }, "prefix"],
  [{ whenFull: "explode" }, "whenFull"],
  [{ modelWaitMs: -1 }, "modelWaitMs"],
  [{ url: "redis://127.0.0.1" }, "url"],
])("a client with the options %j is refused", (options, field) => {
  const make = (): unknown => new RerankClient(options as RerankClientOptions);
  expect(make).toThrow(expect.objectContaining({ code: "invalid_request", field }));
});

test("options and fields that are undefined are as good as absent", async () => {
  const client = fleet.client({ model: undefined, whenFull: undefined });
  const request = { ...good, topN: undefined, tenant: undefined, deadline: undefined };
  const outcomes = client.rerankMany([{ ...request, priority: undefined }], {
    isOrdered: undefined,
    maxPairsInFlight: undefined,
  });
  for await (const { result, error } of outcomes) {
    expect(error).toBeUndefined();
    expect(result!.results).toHaveLength(2);
  }
});

test("a stream of what is no sequence is refused", async () => {
  const stream = fleet.client().rerankMany(null as unknown as RerankRequest[]);
  await expect(stream.next()).rejects.toMatchObject({
    code: "invalid_request",
    field: "requests",
  });
});

test("who waits for a model that nobody serves is told so meanwhile", async () => {
  const reasons: string[] = [];
  const client = fleet.client({ modelWaitMs: 300, onWait: ({ reason }) => reasons.push(reason) });
  await expect(client.rerank({ ...good, model: "absent" })).rejects.toMatchObject({
    code: "model_not_served",
  });
  expect(reasons[0]).toContain('no worker serves "absent"');
  // Nobody has come meanwhile: the next request is told at once.
  const told = reasons.length;
  await expect(client.rerank({ ...good, model: "absent" })).rejects.toMatchObject({
    code: "model_not_served",
  });
  expect(reasons).toHaveLength(told);
});

test("all that is wrong with a request is told at once", async () => {
  const bad = fleet.client().rerank({ query: "", documents: [], topN: -1 });
  const error = (await bad.catch((reason: unknown) => reason)) as { issues: { field: string }[] };
  expect(error.issues.map(({ field }) => field)).toEqual(["query", "documents", "topN"]);
});

test("a megabyte, NUL and odd characters are scored; only what has no text fails", async () => {
  const documents = ["egg ".repeat(262_144), "boil\0the\0egg", "🥚 卵 яйцо", "", "x\uDFFF", "  "];
  const { results } = await fleet.client().rerank({ query: "egg", documents });
  const byIndex = results.toSorted((a, b) => a.index - b.index);
  expect(byIndex.map(({ error }) => error?.code)).toEqual([
    undefined,
    undefined,
    undefined,
    "invalid_document",
    "invalid_document",
    "invalid_document",
  ]);
  expect(byIndex[0]).toMatchObject({ truncated: true, tokens: 512 });
});

test("a stranger's garbage in the queue ends in the dead letters with its reason, at the first try", async () => {
  const keys = keysFor().model("box");
  const queue = new Queue(keys.queue("standard"), { connection: fleet.redis, prefix: "rankfleet" });
  const envelope = {
    v: 1,
    model: "box",
    documents: 1,
    characters: 3,
    payload: { json: JSON.stringify({ query: "q", documents: ["abc"] }) },
    options: {},
    lane: "standard",
    enqueuedAt: Date.now(),
    replyTo: "stranger",
  };
  await fleet.redis.set(keys.payload("torn"), gzipSync("{}").subarray(0, 12));
  await fleet.redis.set(keys.payload("other"), gzipSync('{"query": 7}'));
  const garbage: Record<string, { data: unknown; code: string; attempts?: number }> = {
    text: { data: "hello", code: "invalid_request" },
    number: { data: 42, code: "invalid_request" },
    nothing: { data: {}, code: "invalid_request" },
    list: { data: [1, 2], code: "invalid_request" },
    newer: { data: { ...envelope, v: 99 }, code: "unsupported_version" },
    lane: { data: { ...envelope, lane: "fast" }, code: "invalid_request" },
    model: { data: { ...envelope, model: "other" }, code: "invalid_request" },
    payload: { data: { ...envelope, payload: { json: "{broken" } }, code: "payload_corrupt" },
    shape: {
      data: { ...envelope, payload: { json: '{"query":"q","documents":[1]}' } },
      code: "invalid_request",
    },
    missing: {
      data: { ...envelope, payload: { claim: keys.payload("missing") } },
      code: "payload_missing",
      // They may be on their way.
      attempts: 3,
    },
    torn: {
      data: { ...envelope, payload: { claim: keys.payload("torn") } },
      code: "payload_corrupt",
    },
    other: {
      data: { ...envelope, payload: { claim: keys.payload("other") } },
      code: "invalid_request",
    },
  };
  for (const [jobId, { data }] of Object.entries(garbage))
    await queue.add("x", data, { jobId, attempts: 3 });
  const client = fleet.client();
  expect((await client.rerank(good)).results).toHaveLength(2);
  for (const [jobId, { code, attempts = 1 }] of Object.entries(garbage)) {
    const failure = client.job(`${jobId}@box`).result();
    await expect(failure, jobId).rejects.toMatchObject({ code });
    const job = await queue.getJob(jobId);
    expect([jobId, await job?.getState(), job?.attemptsMade]).toEqual([jobId, "failed", attempts]);
  }
  expect((await client.rerank(good)).results).toHaveLength(2);
  await queue.close();
});
