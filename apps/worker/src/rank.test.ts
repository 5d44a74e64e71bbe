import { expect, test } from "vitest";
import { rankOf, Turns } from "./rank.ts";

test("jobs in turn are in nobody's way", () => {
  const turns = new Turns();
  expect(turns.begin("a", 10)).toBe(false);
  expect(turns.begin("b", 10)).toBe(false);
  expect(turns.begin("c", 12)).toBe(false);
});

test("who comes later with an earlier turn is earlier than what is in hand, and only than that", () => {
  const turns = new Turns();
  for (const [id, turn] of [
    ["a", 10],
    ["b", 20],
    ["c", 30],
  ] as const)
    turns.begin(id, turn);
  expect(turns.begin("guest", 25)).toBe(true);
  turns.end("c");
  expect(turns.begin("another", 25)).toBe(false);
  turns.end("guest");
  expect(turns.begin("third", 22)).toBe(true);
  for (const id of ["a", "b", "another", "third"]) turns.end(id);
  expect(turns.begin("first again", 1)).toBe(false);
});

test("the express queue goes before earlier turns, and these before the rest of their lane", () => {
  const plain = { isExpress: false, isEarlier: false };
  for (const lane of ["standard", "bulk"] as const) {
    const express = rankOf(lane, { isExpress: true, isEarlier: false });
    const earlier = rankOf(lane, { isExpress: false, isEarlier: true });
    expect(express).toBeLessThan(earlier);
    expect(earlier).toBeLessThan(rankOf(lane, plain));
  }
  expect(rankOf("standard", plain)).toBeLessThan(rankOf("bulk", plain));
  expect(rankOf("interactive", plain)).toBeLessThan(
    rankOf("bulk", { isExpress: true, isEarlier: false }),
  );
});
