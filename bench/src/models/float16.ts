/** What a graph's weights are kept and computed in. */
export type FloatType = "fp32" | "fp16";

/** float32 → the bits of float16 (IEEE 754 binary16), rounded to nearest, ties to even. */
export function toHalves(values: Float32Array): Uint16Array<ArrayBuffer> {
  const bits = new Uint32Array(values.buffer, values.byteOffset, values.length);
  const halves = new Uint16Array(values.length);
  for (let i = 0; i < bits.length; i++) halves[i] = toHalf(bits[i]!, values[i]!);
  return halves;
}

function toHalf(bits: number, value: number): number {
  const sign = (bits >>> 16) & 0x8000;
  const magnitude = bits & 0x7fffffff;
  if (magnitude > INFINITY) return sign | 0x7e00; // NaN
  if (magnitude >= OVERFLOW) return sign | 0x7c00;
  // Subnormal: multiples of 2^-24, and 1,024 of them are the smallest normal number.
  if (magnitude < SMALLEST_NORMAL) return sign | toEven(Math.abs(value) * 2 ** 24);
  // The exponent's bias goes from 127 to 15; a fraction that rounds up to 1 carries into the exponent.
  const isOdd = (magnitude >>> 13) & 1;
  return sign | ((magnitude - ((127 - 15) << 23) + 0xfff + isOdd) >>> 13);
}

const INFINITY = 0x7f800000;
/** 65,520, the smallest that rounds to infinity. */
const OVERFLOW = 0x477ff000;
/** 2^-14 */
const SMALLEST_NORMAL = 0x38800000;

function toEven(value: number): number {
  const floor = Math.floor(value);
  const rest = value - floor;
  return rest > 0.5 || (rest === 0.5 && floor % 2 === 1) ? floor + 1 : floor;
}
