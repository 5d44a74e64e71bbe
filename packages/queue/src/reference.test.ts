import { expect, test } from "vitest";
import { agreeOnReference, withOwnReference } from "./reference.ts";
import type { ModelOffer } from "./registry.ts";

const now = Date.parse("2026-11-26T08:00:00Z");
const offer = {
  model: "m",
  revision: "a",
  dtype: "fp32",
  maxTokens: 512,
  reference: [-3, 0, 4, 1],
};
const recorded = withOwnReference(offer, now);

const join = (candidate: Partial<ModelOffer>, to: ModelOffer | undefined = recorded): ModelOffer =>
  agreeOnReference({ ...offer, ...candidate }, to, now + 1000);

test.each([
  ["fp32", [-3, 0, 4, 1.001]],
  ["fp16", [-3.02, 0.05, 4, 1]],
  ["int8", [-3.4, 0.3, 4.2, 1]],
])("a worker of dtype %s within its tolerance joins", (dtype, reference) => {
  expect(join({ dtype, reference })).toEqual({ ...recorded, dtype });
});

test.each([
  ["fp32", [-3, 0, 4, 1.05]],
  ["fp16", [-3.2, 0.3, 4, 1]],
  ["int8", [-3, 0, 4, 3]],
  ["fp32", [-3, 0, 4]],
])(
  "a worker of dtype %s beyond it is told who recorded otherwise and when, and what to do",
  (dtype, reference) => {
    expect(() => join({ revision: "b", dtype, reference })).toThrow(
      expect.objectContaining({
        code: "model_mismatch",
        field: "model",
        message: expect.stringMatching(
          /revision b.*revision a, fp32.* on 2026-11-26T08:00:00.000Z.*--replace-reference/u,
        ) as string,
      }),
    );
  },
);

test("the tolerance is of those who are compared, not of who joined in between", () => {
  const int8 = { revision: "b", dtype: "int8", reference: [-3.4, 0.3, 4.2, 1] };
  // Of a reference in int8, one fp32 worker after the other may be as far off as int8 is.
  const ofInt8 = join({}, withOwnReference({ ...offer, ...int8 }, now));
  expect(ofInt8).toMatchObject({ dtype: "fp32", referenceOf: { revision: "b", dtype: "int8" } });
  expect(join({}, ofInt8).reference).toEqual(int8.reference);
  // And of one in fp32, an int8 worker in between lets no other fp32 file in.
  const ofFp32 = join(int8);
  expect(() => join({ reference: int8.reference }, ofFp32)).toThrow("--replace-reference");
});

test("an older worker's record, which does not say whose the reference is, is the last joiner's", () => {
  const { referenceOf: _, ...older } = recorded;
  expect(join({}, older)).toMatchObject({ referenceOf: { revision: "a", dtype: "fp32" } });
  expect(() => join({ reference: [9, 9, 9, 9] }, older)).toThrow(
    /recorded for m \(allowed .*--replace-reference/u,
  );
});

test("where nothing is recorded, the worker's own logits are", () => {
  const { reference: _, referenceOf: __, ...silent } = recorded;
  const own = { reference: [9, 9, 9, 9] };
  expect(join(own, silent)).toMatchObject(own);
  expect(join(own, silent).referenceOf?.recordedAt).toBe(now + 1000);
});
