import { gunzipSync } from "node:zlib";
import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  encodeTexts,
  FAILURES,
  formatJobId,
  InvalidRequestError,
  keysFor,
  newJobId,
  parseJob,
  parseJobId,
  parseRequest,
  parseResult,
  RankfleetError,
  toError,
  type FailureCode,
  type JobEnvelope,
  type RerankRequest,
} from "./index.ts";

const envelope: JobEnvelope = {
  v: 1,
  model: "box",
  documents: 1,
  characters: 5,
  payload: { json: "{}" },
  options: {},
  lane: "standard",
  enqueuedAt: 1,
  replyTo: "p",
};

function refusal(request: unknown): InvalidRequestError {
  try {
    parseRequest(request);
  } catch (error) {
    if (error instanceof InvalidRequestError) return error;
    throw error;
  }
  throw new Error("it was accepted");
}

describe("requests", () => {
  test.each<[unknown, string]>([
    [null, "request"],
    ["text", "request"],
    [{ query: "q" }, "documents"],
    [{ query: " \n", documents: ["a"] }, "query"],
    [{ query: "a\uD800", documents: ["a"] }, "query"],
    [{ query: "q", documents: [] }, "documents"],
    [{ query: "q", documents: "a" }, "documents"],
    [{ query: "q", documents: [7, null] }, "documents[0]"],
    [{ query: "q", documents: [{ id: 7, text: "a" }] }, "documents[0].id"],
    [{ query: "q", documents: [{ text: 7 }] }, "documents[0].text"],
    [{ query: "q", documents: [{ body: "a" }] }, "documents[0].text"],
    [{ query: "q", documents: [""] }, "documents[0]"],
    [{ query: "q", documents: ["a"], topN: 0 }, "topN"],
    [{ query: "q", documents: ["a"], top_n: 1 }, "top_n"],
    [{ query: "q", documents: ["a"], deadline: Number.NaN }, "deadline"],
    [{ query: "q", documents: ["a"], model: "../etc/passwd" }, "model"],
    [{ query: "q", documents: ["a"], metadata: { deep: {} } }, "metadata.deep"],
    [{ query: "q", documents: ["a"], stages: [{ model: "box" }] }, "stages"],
    [{ query: "q", documents: ["a"], stages: [{ model: "a" }, { model: "b" }] }, "stages[0].keep"],
    [
      { query: "q", documents: ["a"], stages: [{ model: "a", keep: 1 }, { model: "a" }] },
      "stages[1].model",
    ],
    [
      {
        query: "q",
        documents: ["a"],
        model: "a",
        stages: [{ model: "a", keep: 1 }, { model: "b" }],
      },
      "model",
    ],
    [
      { query: "q", documents: [{ text: "a", firstStageScore: 1 }, "b"] },
      "documents[1].firstStageScore",
    ],
  ])("%j is refused for %s", (request, field) => {
    expect(refusal(request).field).toBe(field);
  });

  test.each([[""], [7], [null], [[]], [{}], [{ text: null }], [{ text: 7 }], [{ title: "a" }]])(
    "%j among readable documents is kept for the worker to mark",
    (bad) => {
      expect(parseRequest({ query: "q", documents: [bad, "a"] }).texts).toEqual(["", "a"]);
    },
  );

  test("a hole among the documents is one that cannot be read", () => {
    const documents = ["a", "b"];
    documents[3] = "d";
    expect(parseRequest({ query: "q", documents }).texts).toEqual(["a", "b", "", "d"]);
  });

  test("what the caller changes afterwards is not the job's", () => {
    const metadata = { page: 1 };
    const { options } = parseRequest({ query: "q", documents: ["a"], metadata });
    metadata.page = 2;
    expect(options.metadata).toEqual({ page: 1 });
  });

  test("what cannot be read needs no first-stage score", () => {
    const documents = [{ text: "a", firstStageScore: 1 }, null, { text: "b", firstStageScore: 2 }];
    expect(parseRequest({ query: "q", documents }).firstStageScores).toHaveLength(3);
  });

  test("what the text is not made of may be anything", () => {
    const document = { id: null, text: null, title: "a" };
    const { texts, ids } = parseRequest({ query: "q", fields: ["title"], documents: [document] });
    expect([texts, ids]).toEqual([["a"], undefined]);
  });

  test("what is wrong with a deadline or with metadata is said", () => {
    const of = (more: object): string => refusal({ query: "q", documents: ["a"], ...more }).message;
    for (const deadline of ["2026-01-01", Infinity, new Date("x")]) {
      expect(of({ deadline })).toContain("milliseconds since 1970");
    }
    expect(of({ metadata: { a: {} } })).toBe(
      "metadata.a: must be text of at most 1,024 characters, a number, a boolean or null",
    );
  });

  test("chosen fields make the text, in their order", () => {
    const { texts, ids } = parseRequest({
      query: "q",
      fields: ["title", "year"],
      documents: [{ id: "x", title: "T", year: 1999, text: "unused" }],
    });
    expect([texts, ids]).toEqual([["T\n1999"], ["x"]]);
  });

  test("objects of the caller's own interface are documents, if their ids and texts are strings", () => {
    interface Page {
      readonly title: string;
      readonly body: string;
    }
    interface Numbered {
      readonly id: number;
      readonly text: string;
    }
    const pages: readonly Page[] = [{ title: "T", body: "B" }];
    const request: RerankRequest = { query: "q", fields: ["title"], documents: pages };
    expect(parseRequest(request).texts).toEqual(["T"]);
    const numbered: readonly Numbered[] = [{ id: 1, text: "a" }];
    // @ts-expect-error -- a number is no id
    const refused: RerankRequest = { query: "q", documents: numbered };
    expect(refusal(refused).field).toBe("documents[0].id");
  });

  test("whatever comes is accepted or refused with a field, never an accident", () => {
    fc.assert(
      fc.property(fc.anything(), (request) => {
        try {
          parseRequest(request);
        } catch (error) {
          if (!(error instanceof InvalidRequestError) || error.field === undefined) throw error;
        }
      }),
    );
  });
});

describe("jobs in the queue", () => {
  test("a job survives the way through JSON", () => {
    expect(parseJob(JSON.parse(JSON.stringify(envelope)))).toEqual(envelope);
  });

  test("what a later minor version may add is passed over", () => {
    expect(parseJob({ ...envelope, addedLater: true })).toMatchObject(envelope);
  });

  test("another version is told apart from garbage", () => {
    expect(() => parseJob({ ...envelope, v: 2 })).toThrow(
      expect.objectContaining({ code: "unsupported_version", field: "v" }),
    );
    expect(() => parseJob({ ...envelope, v: "x" })).toThrow(
      expect.objectContaining({ code: "invalid_request", field: "v" }),
    );
  });

  test.each<[object, string]>([
    [{ model: undefined }, "model: expected text"],
    [{ documents: 0 }, "documents: expected a whole number of at least 1"],
    [{ documents: 1.5 }, "documents: expected a whole number of at least 1"],
    [{ options: { topN: "3" } }, "options.topN: expected a whole number of at least 1"],
    [{ lane: "fast" }, 'lane: expected "interactive" or "standard" or "bulk"'],
    [{ payload: { claim: 7 } }, "payload.json: expected text"],
    [{ ids: ["a", 7] }, "ids.1: expected text"],
    [{ metadata: { a: [] } }, "metadata.a: expected text"],
    [{ part: { job: "j", index: 0, of: 2, from: 0 } }, "part.documents: expected a whole number"],
    [
      { cascade: { next: [{}], documents: 1, failures: {}, past: [], pairs: 0 } },
      "cascade.next.0.model: expected text",
    ],
  ])("%j is no job, and the first fault is named", (fault, message) => {
    expect(() => parseJob({ ...envelope, ...fault })).toThrow(`not a rerank job: ${message}`);
  });

  test("garbage is a typed error", () => {
    fc.assert(
      fc.property(fc.anything(), (data) => {
        expect(() => parseJob(data)).toThrow(RankfleetError);
      }),
    );
    fc.assert(
      fc.property(fc.constantFrom(...Object.keys(envelope)), fc.anything(), (key, value) => {
        try {
          parseJob({ ...envelope, [key]: value });
        } catch (error) {
          if (!(error instanceof RankfleetError)) throw error;
        }
      }),
    );
  });
});

describe("results", () => {
  const record = {
    v: 1,
    state: "completed",
    model: "box",
    revision: "r",
    dtype: "fp32",
    activation: "sigmoid",
    logits: [0.5, null],
    tokens: [9, 0],
    truncated: [],
    failures: { 1: { code: "invalid_document", message: "why" } },
    pairs: 1,
    timings: { queuedMs: 1, tokenizeMs: 1, scoreMs: 1, totalMs: 3 },
  };

  test("a record survives the way through JSON", () => {
    expect(parseResult(JSON.stringify(record))).toEqual(record);
  });

  test.each<[object, string]>([
    [{ logits: [0.5, "1"] }, "logits.1: expected a number"],
    [{ failures: { 1: { message: "why" } } }, "failures.1.code: expected text"],
    [{ timings: { ...record.timings, totalMs: null } }, "timings.totalMs: expected a number"],
    [{ state: "failed" }, "failure: expected an object"],
    [{ state: "odd" }, "state: expected completed, failed, cancelled"],
  ])("with %j it cannot be read, and the first fault is named", (fault, message) => {
    const json = JSON.stringify({ ...record, ...fault });
    expect(() => parseResult(json)).toThrow(`not a result record: ${message}`);
  });

  test.each(["", "{", "null", "[]", '{"v":1,"state":"odd"}', '{"v":9,"state":"completed"}'])(
    "%j is no record",
    (text) => {
      expect(() => parseResult(text)).toThrow(RankfleetError);
    },
  );
});

test("texts travel in the job while they are few, else gzipped, and come back the same", async () => {
  const text = fc.string({ unit: "binary", maxLength: 40 }).filter((value) => value.isWellFormed());
  await fc.assert(
    fc.asyncProperty(text, fc.array(text, { maxLength: 5 }), async (query, documents) => {
      const small = await encodeTexts({ query, documents });
      expect("json" in small && JSON.parse(small.json)).toEqual({ query, documents });
      const large = await encodeTexts({ query, documents }, 0);
      expect("gzip" in large && JSON.parse(gunzipSync(large.gzip).toString())).toEqual({
        query,
        documents,
      });
    }),
  );
});

test("all keys of a model lie on one slot, and models on different ones", () => {
  const keys = keysFor("p").model("BAAI/bge");
  for (const key of [keys.result("j"), keys.payload("j"), keys.workers, keys.scores("r").old]) {
    expect(key).toMatch(/^p:\{BAAI\/bge\}:/u);
  }
  expect(keys.queues).toEqual(["{BAAI/bge}-express", "{BAAI/bge}-interactive", "{BAAI/bge}"]);
  expect([keys.queue("interactive"), keys.queue("standard"), keys.queue("bulk")]).toEqual([
    "{BAAI/bge}-interactive",
    "{BAAI/bge}",
    "{BAAI/bge}",
  ]);
  expect(keys.lock("{BAAI/bge}-interactive", "j")).toBe("p:{BAAI/bge}-interactive:j:lock");
});

test("a job's id leads back to its queue; an idempotency key is a job of its tenant", () => {
  const models = ["box", "BAAI/bge"];
  expect(parseJobId(formatJobId("k1", models))).toEqual({ jobId: "k1", models });
  for (const id of ["nonsense", "k1@", "k1@a>>b", "k1@a:b", "k1@{a}", "k1@a b"]) {
    expect(() => parseJobId(id)).toThrow(expect.objectContaining({ code: "job_not_found" }));
  }
  const key = "same";
  expect(newJobId({ key, models })).toBe(newJobId({ key, models }));
  const others = [
    { key, models, tenant: "a" },
    { key, models: ["box"] },
    { key: `\0${key}`, models },
  ].map(newJobId);
  expect(new Set([newJobId({ key, models }), ...others]).size).toBe(4);
  expect(newJobId()).not.toBe(newJobId());
});

test("a failure of a newer version's code leaves the rest of a result readable", () => {
  const newer = { code: "out_of_tune", message: "why" };
  const record = parseResult(JSON.stringify({ v: 1, state: "failed", failure: newer }));
  expect(record).toMatchObject({ failure: { code: "worker_failed", message: "why" } });
});

test.each(Object.keys(FAILURES) as FailureCode[])(
  "a stored %s comes back as an error with its code, field and message",
  (code) => {
    const error = toError({ code, message: "why", field: "query" });
    expect(error).toBeInstanceOf(RankfleetError);
    expect([error.code, error.isRetryable]).toEqual([code, FAILURES[code].isRetryable]);
    expect(error.message).toContain("why");
    expect(error.toFailure().code).toBe(code);
  },
);
