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

/**
 * Pads on the right to the longest row. The arrays are kept for the next batch, so what `pack` returns
 * holds only until it is called again: one packer for each device.
 */
export class Packer {
  readonly #padId: number;
  #inputIds = new Int32Array();
  #attentionMask = new Int32Array();
  #tokenTypeIds = new Int32Array();

  constructor(padId: number) {
    this.#padId = padId;
  }

  pack(batch: TokenBatch): PackedBatch {
    const { ids, offsets, secondStarts } = batch;
    const rows = offsets.length - 1;
    let length = 0;
    for (let row = 0; row < rows; row++) {
      length = Math.max(length, offsets[row + 1]! - offsets[row]!);
    }
    this.#grow(2 * rows * length);
    // Writing the low words of little-endian int64s is several times faster than making BigInts;
    // ids are never negative, so the high words stay 0.
    const [inputIds, attentionMask, tokenTypeIds] = [
      this.#inputIds,
      this.#attentionMask,
      this.#tokenTypeIds,
    ];
    for (let row = 0; row < rows; row++) {
      const from = offsets[row]!;
      const tokens = offsets[row + 1]! - from;
      const second = secondStarts[row]!;
      for (let column = 0; column < length; column++) {
        const word = 2 * (row * length + column);
        const isReal = column < tokens;
        inputIds[word] = isReal ? ids[from + column]! : this.#padId;
        attentionMask[word] = isReal ? 1 : 0;
        tokenTypeIds[word] = isReal && column >= second ? 1 : 0;
      }
    }
    const size = rows * length;
    return {
      rows,
      length,
      inputIds: new BigInt64Array(inputIds.buffer, 0, size),
      attentionMask: new BigInt64Array(attentionMask.buffer, 0, size),
      tokenTypeIds: new BigInt64Array(tokenTypeIds.buffer, 0, size),
    };
  }

  #grow(words: number): void {
    if (this.#inputIds.length >= words) return;
    this.#inputIds = new Int32Array(words);
    this.#attentionMask = new Int32Array(words);
    this.#tokenTypeIds = new Int32Array(words);
  }
}
