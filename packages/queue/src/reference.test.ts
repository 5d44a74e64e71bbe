import { expect, test } from "vitest";
import { requireSameScores } from "./reference.ts";

const recorded = {
  model: "m",
  revision: "a",
  dtype: "fp32",
  maxTokens: 512,
  reference: [-3, 0, 4, 1],
};

test.each([
  ["fp32", [-3, 0, 4, 1.001]],
  ["fp16", [-3.02, 0.05, 4, 1]],
  ["int8", [-3.4, 0.3, 4.2, 1]],
])("a worker of dtype %s within its tolerance joins", (dtype, reference) => {
  expect(() => requireSameScores({ ...recorded, dtype, reference }, recorded)).not.toThrow();
});

test.each([
  ["fp32", [-3, 0, 4, 1.05]],
  ["fp16", [-3.2, 0.3, 4, 1]],
  ["int8", [-3, 0, 4, 3]],
  ["fp32", [-3, 0, 4]],
])(
  "a worker of dtype %s beyond it is told who scores otherwise, and what to do",
  (dtype, reference) => {
    expect(() =>
      requireSameScores({ ...recorded, revision: "b", dtype, reference }, recorded),
    ).toThrow(
      expect.objectContaining({
        code: "model_mismatch",
        message: expect.stringMatching(/revision b.*revision a.*--replace-reference/u) as string,
      }),
    );
  },
);

test("a fleet of older workers, who recorded nothing, keeps nobody out", () => {
  const { reference: _, ...silent } = recorded;
  expect(() => requireSameScores({ ...recorded, reference: [9, 9, 9, 9] }, silent)).not.toThrow();
});
