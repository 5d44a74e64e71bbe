import { expect, test } from "vitest";
import { OTHERS_TURN } from "../batch/pair-queue.ts";
import { WaitingCalls } from "./waiting-calls.ts";

const call = (id: number, lane: number) => ({ id, lane, request: undefined });

test("the most urgent call is next, and the first of its lane", () => {
  const waiting = new WaitingCalls();
  for (const [id, lane] of [3, 1, 3, 1].entries()) waiting.push(call(id, lane));
  const order = Array.from({ length: 5 }, () => waiting.next());
  expect(order.map((each) => each && "id" in each && each.id)).toEqual([1, 3, 0, 2, undefined]);
});

test("urgent calls that keep coming overtake the first only so often", () => {
  const waiting = new WaitingCalls();
  waiting.push(call(0, 4));
  let overtaken = 0;
  for (let id = 1; ; id++) {
    waiting.push(call(id, 0));
    const next = waiting.next()!;
    if ("id" in next && next.id === 0) break;
    overtaken++;
  }
  expect(overtaken).toBe(OTHERS_TURN);
});

test("closing comes last", () => {
  const waiting = new WaitingCalls();
  waiting.push({ close: true });
  for (let id = 0; id < 20; id++) waiting.push(call(id, 3));
  const order = Array.from({ length: 21 }, () => waiting.next()!);
  expect(order.findIndex((each) => "close" in each)).toBe(20);
});
