import { expect, test } from "vitest";
import { Slots } from "./slots.ts";

test("a number stands for one thing until that is taken, and then for another", () => {
  const slots = new Slots<string>();
  const [a, b] = [slots.put("a"), slots.put("b")];
  expect(slots.size).toBe(2);
  expect(slots.take(a)).toBe("a");
  expect(slots.take(a)).toBeUndefined();
  expect(slots.put("c")).toBe(a);
  expect(slots.put("d")).not.toBe(b);
  expect(slots.take(b)).toBe("b");
  expect(slots.take(99)).toBeUndefined();
  expect(slots.takeAll().toSorted()).toEqual(["c", "d"]);
  expect(slots.size).toBe(0);
});
