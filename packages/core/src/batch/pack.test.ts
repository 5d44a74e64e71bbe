import { expect, test } from "vitest";
import { Packer } from "./pack.ts";

test("rows are padded on the right to the longest, with mask and types to match", () => {
  const packer = new Packer(1);
  // A larger batch before it must leave nothing behind.
  packer.pack({
    ids: new Int32Array(40).fill(6),
    offsets: Int32Array.of(0, 40),
    secondStarts: Int32Array.of(0),
  });
  const packed = packer.pack({
    ids: Int32Array.of(2, 7, 3, 8, 3, 2, 9, 3),
    offsets: Int32Array.of(0, 5, 8),
    secondStarts: Int32Array.of(3, 2),
  });
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
