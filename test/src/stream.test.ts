import { getEventListeners } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { startLocalRedis, type LocalRedis } from "@rankfleet/local-redis";
import type { RerankClient, RerankOutcome, RerankRequest } from "@rankfleet/sdk";
import { afterAll, beforeAll, expect, test } from "vitest";
import { TestFleet } from "./support/fleet.ts";
import { requests } from "./support/texts.ts";

let fleet: TestFleet;
let client: RerankClient;
beforeAll(async () => {
  fleet = await TestFleet.start();
  await fleet.worker();
  client = fleet.client();
});
afterAll(() => fleet.stop());

async function collect(outcomes: AsyncIterable<RerankOutcome>): Promise<RerankOutcome[]> {
  const all: RerankOutcome[] = [];
  for await (const outcome of outcomes) all.push(outcome);
  return all;
}

test("every request has one outcome; in the order of the requests if so wished", async () => {
  const all = await collect(client.rerankMany(requests(50, 5)));
  expect(all.map(({ index }) => index).toSorted((a, b) => a - b)).toEqual(
    Array.from({ length: 50 }, (_, i) => i),
  );
  for (const { index, request, result } of all) {
    expect(request.metadata).toEqual({ number: index });
    expect(result?.metadata).toEqual({ number: index });
  }
  const ordered = await collect(client.rerankMany(requests(50, 5), { isOrdered: true }));
  expect(ordered.map(({ index }) => index)).toEqual(Array.from({ length: 50 }, (_, i) => i));
});

test("a request that fails is an item, and the stream goes on", async () => {
  const mixed = [
    ...requests(3, 2),
    { query: "", documents: ["a"] },
    null as unknown as RerankRequest,
    ...requests(3, 2),
  ];
  const all = await collect(client.rerankMany(mixed, { isOrdered: true }));
  expect(all.map(({ error }) => (error as { field?: string } | undefined)?.field)).toEqual([
    undefined,
    undefined,
    undefined,
    "query",
    "request",
    undefined,
    undefined,
    undefined,
  ]);
});

test("a signal that outlives its requests keeps nothing of them", async () => {
  const { signal } = new AbortController();
  const deadline = Date.now() + 60_000;
  for (const request of requests(5, 2)) await client.rerank({ ...request, deadline }, { signal });
  await collect(client.rerankMany(requests(5, 2), { signal }));
  expect(getEventListeners(signal, "abort")).toEqual([]);
  // Where Node keeps the signals that were made of this one. The stream is one, however long it is.
  const kept = Object.getOwnPropertySymbols(signal)
    .filter(({ description }) => description === "kDependantSignals")
    .map((symbol) => (signal as unknown as Record<symbol, Set<unknown> | undefined>)[symbol]);
  expect(kept[0]?.size ?? 0).toBeLessThanOrEqual(1);
});

test("no more is read ahead than the bound allows", async () => {
  let [read, taken, furthest] = [0, 0, 0];
  function* source(): Generator<RerankRequest> {
    for (const request of requests(60, 10)) {
      read++;
      furthest = Math.max(furthest, read - taken);
      yield request;
    }
  }
  for await (const _ of client.rerankMany(source(), { maxPairsInFlight: 50 })) {
    taken++;
    if (taken < 5) await sleep(30);
  }
  expect(read).toBe(60);
  expect(furthest).toBeLessThanOrEqual(6);
});

test("a source that is slower than the fleet delays no result", async () => {
  async function* slow(): AsyncGenerator<RerankRequest> {
    yield requests(1, 2)[0]!;
    await sleep(1500);
    yield requests(1, 2)[0]!;
  }
  const start = performance.now();
  const times: number[] = [];
  for await (const _ of client.rerankMany(slow())) times.push(performance.now() - start);
  expect(times[0]).toBeLessThan(1000);
  expect(times[1]).toBeGreaterThan(1400);
});

test("a source that throws ends the stream with its error, after what was under way", async () => {
  function* broken(): Generator<RerankRequest> {
    yield* requests(3, 2);
    throw new Error("the file is torn");
  }
  const seen: number[] = [];
  const run = async (): Promise<void> => {
    for await (const { index } of client.rerankMany(broken())) seen.push(index);
  };
  await expect(run()).rejects.toThrow("the file is torn");
  expect(seen.toSorted((a, b) => a - b)).toEqual([0, 1, 2]);
});

test("whoever leaves the loop and closes the client has cancelled what was under way", async () => {
  const own = fleet.client();
  for await (const _ of own.rerankMany(requests(500, 50))) break;
  await own.close();
  expect(await fleet.redis.zcard("rankfleet:{box}:prioritized")).toBe(0);
});

test("an abort is heard while the source waits for its own input", async () => {
  async function* waiting(): AsyncGenerator<RerankRequest> {
    yield requests(1, 2)[0]!;
    await new Promise(() => {});
  }
  const controller = new AbortController();
  const run = async (): Promise<void> => {
    for await (const _ of client.rerankMany(waiting(), { signal: controller.signal })) {
      setTimeout(() => controller.abort(new Error("enough")), 50);
    }
  };
  await expect(run()).rejects.toThrow("enough");
});

test("closing the client ends a stream that waits for Redis", async () => {
  const alone = await TestFleet.start();
  try {
    await alone.worker();
    const own = alone.client();
    await own.rerank(requests(1, 2)[0]!);
    await alone.redisServer.stop();
    setTimeout(() => void own.close(), 500);
    const [outcome] = await collect(own.rerankMany(requests(1, 2)));
    expect(outcome?.error).toMatchObject({ code: "client_closed" });
  } finally {
    await alone.stop();
  }
});

test("while Redis is away a stream waits, also once what is served is forgotten here", async () => {
  const dataFolder = mkdtempSync(join(tmpdir(), "stream-test-"));
  const server = { dataFolder, password: "secret" };
  const alone = await TestFleet.start(server);
  let again: LocalRedis | undefined;
  try {
    await alone.worker();
    const waits: string[] = [];
    const own = alone.client({ onWait: ({ reason }) => waits.push(reason) });
    await own.rerank(requests(1, 2)[0]!);
    await alone.redisServer.stop();
    await sleep(5_100); // For so long the client remembers which models are served.
    const outcomes = collect(own.rerankMany(requests(3, 2)));
    await expect.poll(() => waits.length, { timeout: 30_000 }).toBeGreaterThan(0);
    again = await startLocalRedis({ ...server, port: alone.redisServer.port });
    expect((await outcomes).map(({ error }) => error)).toEqual([undefined, undefined, undefined]);
  } finally {
    await alone.stop();
    await again?.stop();
    rmSync(dataFolder, { recursive: true });
  }
});

test("leaving the loop, or an abort, cancels what is under way", async () => {
  let isClosed = false;
  function* source(): Generator<RerankRequest> {
    try {
      yield* requests(500, 50);
    } finally {
      isClosed = true;
    }
  }
  for await (const _ of client.rerankMany(source())) break;
  expect(isClosed).toBe(true);
  await expect
    .poll(() => fleet.redis.zcard("rankfleet:{box}:prioritized"), { timeout: 10_000 })
    .toBe(0);

  const controller = new AbortController();
  const run = async (): Promise<void> => {
    for await (const _ of client.rerankMany(requests(500, 50), { signal: controller.signal }))
      controller.abort(new Error("enough"));
  };
  await expect(run()).rejects.toThrow("enough");
  await expect
    .poll(() => fleet.redis.zcard("rankfleet:{box}:prioritized"), { timeout: 10_000 })
    .toBe(0);
});
