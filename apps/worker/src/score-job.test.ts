import type { JobEnvelope } from "@rankfleet/queue/contract";
import { expect, test } from "vitest";
import { float32, scoreJob, type ScoreJobContext } from "./score-job.ts";
import { Solitude } from "./solitude.ts";

test("a logit in the record has nine digits, and is the same float32 to the bit", () => {
  const view = new DataView(new ArrayBuffer(4));
  // Every sign and exponent, mantissas spread evenly.
  for (let bits = 0; bits < 2 ** 32; bits += 99_991) {
    view.setUint32(0, bits);
    const logit = view.getFloat32(0);
    if (!Number.isFinite(logit)) continue;
    const kept = float32(logit);
    if (Math.fround(kept) !== logit) throw new Error(`${logit} became ${kept}`);
    if (kept !== Number(kept.toPrecision(9))) throw new Error(`${kept} has not nine digits`);
  }
  expect([0, 1, -0.1, 12.5].map(float32)).toEqual([0, 1, -0.1, 12.5]);
});

test("a job's lane and deadline go with its pairs", async () => {
  const given: unknown[] = [];
  const score = (_: unknown, options: unknown): Promise<never> => {
    given.push(options);
    return Promise.reject(new Error("enough"));
  };
  const { signal } = new AbortController();
  const context = { rank: 1, deadline: 1_700_000_000_000, signal, tag: "a span" };
  const job = { options: {}, payload: { json: "{}" } } as JobEnvelope;
  const scoring = scoreJob(job, {
    ...context,
    reranker: { score },
    now: Date.now,
    solitude: new Solitude(),
  } as unknown as ScoreJobContext);
  await expect(scoring).rejects.toThrow("enough");
  expect(given).toEqual([{ lane: 1, deadline: context.deadline, signal, tag: "a span" }]);
});
