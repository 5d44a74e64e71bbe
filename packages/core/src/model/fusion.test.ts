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

// The mean of three times 0.1 is not 0.1.
test.each([[[5, 5, 5]], [[0.1, 0.1, 0.1]], [[0, 0, 0]]])(
  "a first stage that gives %s, which tells nothing apart, changes nothing",
  (firstStage) => {
    expect(fuse([3, 1, 2], firstStage, 2)).toEqual([3, 1, 2]);
  },
);

test.each([1e-200, 5e-324, 1e200, 8e307])("first-stage scores of some %d count as any", (unit) => {
  const [large, usual] = [unit, 1].map((each) =>
    fuse([3, 1, 0, 4], [each, 2 * each, each, 0], 1).map((value) => value!),
  );
  for (const [i, value] of large!.entries()) expect(value).toBeCloseTo(usual![i]!, 12);
});

test("what the first stage has put at the end of all numbers stands behind the others there", () => {
  const worst = -Number.MAX_VALUE;
  const fused = fuse([0, 0.1, 0, 0.1], [2, worst, 1, worst], 5);
  expect(order(fused)).toEqual([0, 2, 1, 3]);
});
