import { expect, test } from "vitest";
import { TimeLimit } from "./time-limit.ts";

const redisIsAhead = { now: (): number => Date.now() + 5_000 };

test("a deadline in Redis's time is told by this process's clock", () => {
  const limit = new TimeLimit(redisIsAhead.now() + 2_000, redisIsAhead, undefined);
  limit.clear();
  expect(Math.abs(limit.deadline! - Date.now() - 2_000)).toBeLessThan(100);
  expect(limit.signal.aborted).toBe(false);
});

test("a deadline that is over aborts at once, and without one nothing does", () => {
  const { signal } = new TimeLimit(Date.now() + 1_000, redisIsAhead, undefined);
  expect(signal.reason).toMatchObject({ code: "deadline_exceeded", field: "deadline" });
  const without = new TimeLimit(undefined, redisIsAhead, undefined);
  expect([without.deadline, without.signal.aborted]).toEqual([undefined, false]);
});
