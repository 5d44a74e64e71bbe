/** Token sequences of unequal length → the rectangular int64 arrays that a graph takes. */

/** A batch on its way to a device: sequences end to end, nothing padded yet. */
export interface TokenBatch {
  readonly ids: Int32Array<ArrayBuffer>;
  /** Row i is `ids[offsets[i] … offsets[i + 1])`. */
  readonly offsets: Int32Array<ArrayBuffer>;
  /** Per row, the place within it from which token type 1 holds. */
  readonly secondStarts: Int32Array<ArrayBuffer>;
}

/** Shape `[rows, length]`, row by row, int64. */
export interface PackedBatch {
  readonly rows: number;
  readonly length: number;
  readonly inputIds: BigInt64Array<ArrayBuffer>;
  readonly attentionMask: BigInt64Array<ArrayBuffer>;
  readonly tokenTypeIds: BigInt64Array<ArrayBuffer>;
}

/** Pads on the right to the longest row. */
export function pack(batch: TokenBatch, padId: number): PackedBatch {
  const { ids, offsets, secondStarts } = batch;
  const rows = offsets.length - 1;
  let length = 0;
  for (let row = 0; row < rows; row++) length = Math.max(length, offsets[row + 1]! - offsets[row]!);
  // Writing the low words of little-endian int64s is several times faster than making BigInts;
  // ids are never negative, so the high words stay 0.
  const [inputIds, attentionMask, tokenTypeIds] = [
    int32Words(rows * length),
    int32Words(rows * length),
    int32Words(rows * length),
  ];
  for (let row = 0; row < rows; row++) {
    const from = offsets[row]!;
    const tokens = offsets[row + 1]! - from;
    for (let column = 0; column < length; column++) {
      const word = 2 * (row * length + column);
      const isReal = column < tokens;
      inputIds[word] = isReal ? ids[from + column]! : padId;
      attentionMask[word] = isReal ? 1 : 0;
      tokenTypeIds[word] = isReal && column >= secondStarts[row]! ? 1 : 0;
    }
  }
  return {
    rows,
    length,
    inputIds: new BigInt64Array(inputIds.buffer),
    attentionMask: new BigInt64Array(attentionMask.buffer),
    tokenTypeIds: new BigInt64Array(tokenTypeIds.buffer),
  };
}

function int32Words(count: number): Int32Array<ArrayBuffer> {
  return new Int32Array(2 * count);
}
