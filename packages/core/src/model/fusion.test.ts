import { expect, test } from "vitest";
import { fuse } from "./fusion.ts";

const order = (values: readonly (number | null)[]): number[] =>
  values
    .map((value, index) => ({ value: value ?? -Infinity, index }))
    .sort((a, b) => b.value - a.value)
    .map(({ index }) => index);

test("the order is that of the standardised sum, whatever the first stage's scale", () => {
  const logits = [2, 0, -2];
  expect(order(fuse(logits, [0, 0, 10], 0))).toEqual([0, 1, 2]);
  expect(order(fuse(logits, [0, 0, 10], 5))).toEqual([2, 0, 1]);
  const scaled = fuse(logits, [7, 8, 9], 0.5).map((value) => value!);
  for (const [i, value] of fuse(logits, [70, 80, 90], 0.5).entries())
    expect(value).toBeCloseTo(scaled[i]!, 12);
});

test("what could not be scored stays so and moves nobody", () => {
  const [a, , c] = fuse([1, null, -1], [3, 1e9, 1], 1);
  expect([a, c]).toEqual(fuse([1, -1], [3, 1], 1));
  expect(fuse([1, null, -1], [3, 1e9, 1], 1)[1]).toBeNull();
});

test("a first stage that tells nothing apart changes nothing", () => {
  expect(fuse([3, 1], [5, 5], 2)).toEqual([3, 1]);
});
