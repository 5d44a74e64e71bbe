import type { Integer, OnnxTensor } from "./model-file.ts";

/** ONNX's numbers for element types. */
export const ELEMENT = { float: 1, uint8: 2, int8: 3, int64: 7, float16: 10 } as const;

export function sizes(tensor: OnnxTensor): number[] {
  return tensor.dims.map((dim: Integer) => Number(dim));
}

/** The values of a float32 tensor; undefined for any other type. */
export function floats(tensor: OnnxTensor): Float32Array | undefined {
  if (tensor.data_type !== ELEMENT.float) return undefined;
  const raw = tensor.raw_data;
  if (raw !== undefined && raw.length > 0) {
    // A copy, since the bytes may lie at an odd place of the file's buffer. (A Buffer's slice is none.)
    return new Float32Array(new Uint8Array(raw).buffer);
  }
  return Float32Array.from(tensor.float_data ?? []);
}

/** Of a Uint16Array the numbers are the bits of float16. */
export function tensorOf(
  name: string,
  dims: readonly number[],
  data: Float32Array | Uint16Array | Int8Array | Uint8Array,
): OnnxTensor {
  const type = elementOf(data);
  const raw_data = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
  return { name, dims, data_type: type, raw_data };
}

function elementOf(data: Float32Array | Uint16Array | Int8Array | Uint8Array): number {
  if (data instanceof Float32Array) return ELEMENT.float;
  if (data instanceof Uint16Array) return ELEMENT.float16;
  return data instanceof Int8Array ? ELEMENT.int8 : ELEMENT.uint8;
}
