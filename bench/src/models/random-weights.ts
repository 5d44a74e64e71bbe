import { toHalves, type FloatType } from "./float16.ts";

/** Numbers that a repeating source draws: a prime, so that no row of a matrix is like the next. */
const DRAWN = 1_048_573;

/**
 * Normal numbers for weights, in the type in which a graph keeps them. A large model's would take half a minute to
 * draw: its source draws a million and then repeats them, which no device can tell.
 */
export class RandomWeights {
  readonly #floatType: FloatType;
  readonly #random: () => number;
  readonly #blocks: Map<number, Float32Array | Uint16Array> | undefined;
  #place = 0;

  constructor({
    seed,
    floatType,
    isRepeating,
  }: {
    seed: number;
    floatType: FloatType;
    isRepeating: boolean;
  }) {
    this.#floatType = floatType;
    this.#random = normal(seed);
    this.#blocks = isRepeating ? new Map() : undefined;
  }

  take(count: number, deviation: number): Float32Array | Uint16Array {
    if (this.#blocks === undefined) return this.#draw(count, deviation);
    const block = this.#blocks.get(deviation) ?? this.#draw(DRAWN, deviation);
    this.#blocks.set(deviation, block);
    const taken = this.#floatType === "fp16" ? new Uint16Array(count) : new Float32Array(count);
    for (let filled = 0; filled < count;) {
      const piece = block.subarray(this.#place, this.#place + count - filled);
      taken.set(piece, filled);
      filled += piece.length;
      this.#place = (this.#place + piece.length) % DRAWN;
    }
    return taken;
  }

  #draw(count: number, deviation: number): Float32Array | Uint16Array {
    const drawn = Float32Array.from({ length: count }, () => deviation * this.#random());
    return this.#floatType === "fp16" ? toHalves(drawn) : drawn;
  }
}

/** Standard normal numbers by Box and Muller, from xorshift32 (Marsaglia 2003). */
function normal(seed: number): () => number {
  let state = seed;
  const uniform = (): number => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return ((state >>> 0) + 0.5) / 2 ** 32;
  };
  return () => Math.sqrt(-2 * Math.log(uniform())) * Math.cos(2 * Math.PI * uniform());
}
