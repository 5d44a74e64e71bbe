import { setTimeout as sleep } from "node:timers/promises";
import { expect, test } from "vitest";
import { withPatience } from "./patience.ts";

test.each([
  ["before the attempt", 0],
  ["while it is under way", 20],
])("what never ends is left when the signal aborts %s", async (_when, delayMs) => {
  const controller = new AbortController();
  const abort = (): void => controller.abort(new Error("left"));
  if (delayMs === 0) abort();
  else void sleep(delayMs).then(abort);
  const { signal } = controller;
  await expect(withPatience(() => new Promise(() => {}), { signal })).rejects.toThrow("left");
});
