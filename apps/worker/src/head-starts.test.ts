import { setTimeout as sleep } from "node:timers/promises";
import { expect, test } from "vitest";
import { HeadStarts } from "./head-starts.ts";

test("a delivery waits for what was begun, and is told whether the job has ended by it", async () => {
  const headStarts = new HeadStarts();
  headStarts.begin("job", () => sleep(5, true));
  expect(headStarts.underWay).toBe(1);
  expect(await headStarts.hasEnded("job", undefined)).toBe(true);
  expect(headStarts.underWay).toBe(0);
  expect(await headStarts.hasEnded("job", undefined)).toBe(true);
  expect(await headStarts.hasEnded("another job", undefined)).toBe(false);
});

test("what came to nothing leaves the job to its delivery", async () => {
  const headStarts = new HeadStarts();
  headStarts.begin("broken", () => Promise.reject(new Error("broken")));
  headStarts.begin("not queued", () => Promise.resolve(false));
  expect(await headStarts.hasEnded("broken", undefined)).toBe(false);
  expect(await headStarts.hasEnded("not queued", undefined)).toBe(false);
  expect(headStarts.underWay).toBe(0);
});

test("the same job is begun once", async () => {
  const headStarts = new HeadStarts();
  let attempts = 0;
  const attempt = (): Promise<boolean> => sleep(1, ++attempts > 0);
  headStarts.begin("job", attempt);
  headStarts.begin("job", attempt);
  await headStarts.hasEnded("job", undefined);
  headStarts.begin("job", attempt);
  expect(attempts).toBe(1);
});

const untilAborted = (signal: AbortSignal): Promise<boolean> =>
  new Promise((_, reject) => signal.addEventListener("abort", () => reject(signal.reason)));

test("a delivery that is aborted, and a cancelled job, end what was begun", async () => {
  const headStarts = new HeadStarts();
  const delivery = new AbortController();
  headStarts.begin("handed back", untilAborted);
  headStarts.begin("cancelled", untilAborted);
  const handedBack = headStarts.hasEnded("handed back", delivery.signal);
  const cancelled = headStarts.hasEnded("cancelled", undefined);
  delivery.abort(new Error("handed back"));
  headStarts.cancel("cancelled", "cancelled");
  expect(await handedBack).toBe(false);
  expect(await cancelled).toBe(false);
  headStarts.begin("late", untilAborted);
  expect(await headStarts.hasEnded("late", delivery.signal)).toBe(false);
});

test("closing waits for what was begun and begins no more", async () => {
  const headStarts = new HeadStarts();
  let isOver = false;
  headStarts.begin("job", async () => {
    await sleep(5);
    return (isOver = true);
  });
  await headStarts.close();
  expect(isOver).toBe(true);
  headStarts.begin("too late", () => Promise.resolve(true));
  expect(headStarts.underWay).toBe(0);
});
