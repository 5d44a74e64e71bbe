import type { CompletedRecord, JobEnvelope, PartRecord } from "@rankfleet/queue/contract";
import { expect, test } from "vitest";
import { mergeParts } from "./merge-parts.ts";

const job: JobEnvelope = {
  v: 1,
  model: "box",
  documents: 2,
  characters: 2,
  payload: { json: "{}" },
  options: {},
  lane: "standard",
  enqueuedAt: 1,
  replyTo: "p",
};

function part(from: number, more: Partial<CompletedRecord> = {}): PartRecord {
  const record: CompletedRecord = {
    v: 1,
    state: "completed",
    model: "box",
    revision: "one",
    dtype: "fp32",
    activation: "sigmoid",
    logits: [from, from + 0.5],
    tokens: [3, 4],
    truncated: [1],
    failures: {},
    pairs: 2,
    timings: { queuedMs: from, tokenizeMs: 1, scoreMs: from, totalMs: from },
    ...more,
  };
  return { state: "completed", from, record };
}

const merged = (parts: readonly PartRecord[]): Partial<CompletedRecord> => {
  const outcome = mergeParts(job, parts, undefined);
  if ("failure" in outcome) throw new Error(outcome.failure.message);
  return outcome.record;
};

test("parts are one record: columns in order, places and counts of the whole", () => {
  expect(merged([part(0), part(2)])).toMatchObject({
    logits: [0, 0.5, 2, 2.5],
    tokens: [3, 4, 3, 4],
    truncated: [1, 3],
    pairs: 4,
    revision: "one",
    timings: { queuedMs: 0, scoreMs: 2 },
  });
});

test("parts of two revisions or dtypes say both", () => {
  expect(merged([part(0), part(2, { revision: "two", dtype: "int8" }), part(4)])).toMatchObject({
    revision: "one+two",
    dtype: "fp32+int8",
  });
});

test("a part that failed costs its own documents; if all did, or time was over, so does the job", () => {
  const failed = (from: number, code: "worker_failed" | "deadline_exceeded"): PartRecord => ({
    state: "failed",
    from,
    documents: 2,
    failure: { code, message: "why" },
  });
  expect(merged([part(0), failed(2, "worker_failed")])).toMatchObject({
    logits: [0, 0.5, null, null],
    failures: {
      2: { code: "worker_failed", field: "documents[2]" },
      3: { code: "worker_failed", field: "documents[3]" },
    },
  });
  for (const parts of [
    [failed(0, "worker_failed"), failed(2, "worker_failed")],
    [part(0), failed(2, "deadline_exceeded")],
  ]) {
    expect(mergeParts(job, parts, undefined)).toHaveProperty("failure");
  }
});
