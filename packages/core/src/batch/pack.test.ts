import { expect, test } from "vitest";
import { pack } from "./pack.ts";

test("rows are padded on the right to the longest, with mask and types to match", () => {
  const packed = pack(
    {
      ids: Int32Array.of(2, 7, 3, 8, 3, 2, 9, 3),
      offsets: Int32Array.of(0, 5, 8),
      secondStarts: Int32Array.of(3, 2),
    },
    1,
  );
  const rows = (data: BigInt64Array): number[][] => [
    Array.from(data.subarray(0, 5), Number),
    Array.from(data.subarray(5), Number),
  ];
  expect([packed.rows, packed.length]).toEqual([2, 5]);
  expect(rows(packed.inputIds)).toEqual([
    [2, 7, 3, 8, 3],
    [2, 9, 3, 1, 1],
  ]);
  expect(rows(packed.attentionMask)).toEqual([
    [1, 1, 1, 1, 1],
    [1, 1, 1, 0, 0],
  ]);
  expect(rows(packed.tokenTypeIds)).toEqual([
    [0, 0, 0, 1, 1],
    [0, 0, 1, 0, 0],
  ]);
});
