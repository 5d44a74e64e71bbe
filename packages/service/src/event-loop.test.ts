import { setTimeout as sleep } from "node:timers/promises";
import { expect, test } from "vitest";
import { watchEventLoop } from "./event-loop.ts";

test("a blocked loop shows in its window and is forgotten in the next but one", async () => {
  let now = 0;
  const watch = watchEventLoop({ windowMs: 1_000, now: () => now });
  await sleep(50);
  block(200);
  await sleep(50);
  expect(watch.lagSeconds()).toBeGreaterThan(0.1);

  now = 1_000;
  const blockedWindow = watch.lagSeconds();
  expect(blockedWindow).toBeGreaterThan(0.1);
  await sleep(100);
  expect(watch.lagSeconds()).toBe(blockedWindow);

  now = 2_000;
  expect(watch.lagSeconds()).toBeLessThan(blockedWindow);
  watch.close();
});

function block(ms: number): void {
  const until = performance.now() + ms;
  while (performance.now() < until);
}
