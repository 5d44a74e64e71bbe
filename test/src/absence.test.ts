import { InvalidRequestError } from "@rankfleet/sdk";
import { afterAll, beforeAll, expect, test } from "vitest";
import { TestFleet } from "./support/fleet.ts";

/** What a client sees of a Redis, a database or workers that are not there, or not any more. */
let fleet: TestFleet;
beforeAll(async () => {
  fleet = await TestFleet.start();
});
afterAll(() => fleet.stop());

const query = "how do I descale a coffee machine";
const documents = [
  "Oil the chain.",
  "Run a descaling solution through the machine.",
  "Rinse twice.",
];

test("a signal and a deadline are heard also while Redis is away", async () => {
  const alone = await TestFleet.start();
  try {
    await alone.worker();
    const client = alone.client();
    await client.rerank({ query, documents });
    await alone.redisServer.stop();
    const start = performance.now();
    const [aborted, late] = await Promise.allSettled([
      client.rerank({ query, documents }, { signal: AbortSignal.timeout(500) }),
      client.rerank({ query, documents, deadline: Date.now() + 500 }),
    ]);
    expect(aborted).toMatchObject({ reason: { name: "TimeoutError" } });
    expect(late).toMatchObject({ reason: { code: "deadline_exceeded" } });
    expect(performance.now() - start).toBeLessThan(5_000);
  } finally {
    await alone.stop();
  }
});

test("who waits for workers that are gone is told so", { timeout: 30_000 }, async () => {
  const alone = await TestFleet.start();
  try {
    const gone = await alone.worker();
    const reasons: string[] = [];
    const client = alone.client({ onWait: ({ reason }) => reasons.push(reason) });
    await client.rerank({ query, documents });
    gone.child.kill("SIGTERM");
    await gone.ended;
    const waiting = client.rerank({ query, documents });
    await expect.poll(() => reasons[0], { timeout: 20_000 }).toContain('no worker of "box"');
    await alone.worker();
    expect((await waiting).results).toHaveLength(3);
  } finally {
    await alone.stop();
  }
});

test("who waits under a wrong model's name does not end the wait of the others", async () => {
  const alone = await TestFleet.start();
  try {
    const { child } = await alone.worker();
    const client = alone.client();
    await client.rerank({ query, documents });
    child.kill("SIGSTOP");
    const job = await client.enqueue({ query: "still to come", documents });
    const wrong = client.job(job.id.replace("@box", "@wrong")).result();
    const right = job.result();
    await expect(wrong).rejects.toMatchObject({ code: "job_not_found" });
    child.kill("SIGCONT");
    expect((await right).results).toHaveLength(3);
  } finally {
    await alone.stop();
  }
});

test("a database that does not exist is an error, and not the first one", async () => {
  const client = fleet.client({ redis: `${fleet.url}/77` });
  await expect(client.rerank({ query, documents })).rejects.toMatchObject({
    code: "redis_unavailable",
    message: expect.stringContaining("DB index is out of range") as string,
  });
});

test("Redis that is not there is one clear error", async () => {
  const client = fleet.client({ redis: "redis://127.0.0.1:1" });
  await expect(client.rerank({ query, documents })).rejects.toMatchObject({
    code: "redis_unavailable",
    message: expect.stringContaining("cannot reach Redis at 127.0.0.1:1") as string,
  });
  await expect(fleet.client().rerank({ query: "", documents })).rejects.toBeInstanceOf(
    InvalidRequestError,
  );
});
