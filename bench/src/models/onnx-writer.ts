import { Writer } from "protobufjs/minimal.js";

/**
 * Just enough of ONNX's protocol buffers (onnx.proto3, https://onnx.ai/onnx/repo-docs/IR.html) to write the
 * benchmark's graphs. Numbers in the code are the schema's field numbers.
 */
export type TensorData = Float32Array | Int8Array | Uint8Array | BigInt64Array;

/** A node's attribute: an integer, a float, or integers. */
export type Attribute = { int: number } | { float: number } | { ints: readonly number[] };

export class GraphWriter {
  readonly #nodes: Uint8Array[] = [];
  readonly #initializers: Uint8Array[] = [];
  #names = 0;

  /** A constant; returns its name. */
  constant(data: TensorData, dims: readonly number[]): string {
    const name = this.#fresh();
    const tensor = new Writer();
    tensor.uint32(tag(1, 2)).fork();
    for (const dim of dims) tensor.int64(dim);
    tensor.ldelim().uint32(tag(2, 0)).int32(dataType(data));
    tensor.uint32(tag(8, 2)).string(name);
    const bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
    tensor.uint32(tag(9, 2)).bytes(bytes);
    this.#initializers.push(tensor.finish());
    return name;
  }

  scalar(value: number): string {
    return this.constant(Float32Array.of(value), []);
  }

  shape(...dims: number[]): string {
    return this.constant(BigInt64Array.from(dims, BigInt), [dims.length]);
  }

  /** Adds a node with one output; returns the output's name. */
  node(
    op: string,
    inputs: readonly string[],
    attributes: Readonly<Record<string, Attribute>> = {},
    output: string = this.#fresh(),
  ): string {
    const node = new Writer();
    for (const input of inputs) node.uint32(tag(1, 2)).string(input);
    node.uint32(tag(2, 2)).string(output);
    node.uint32(tag(4, 2)).string(op);
    for (const [name, value] of Object.entries(attributes)) {
      node.uint32(tag(5, 2)).bytes(attribute(name, value));
    }
    this.#nodes.push(node.finish());
    return output;
  }

  /** The model with int64 inputs [batch, sequence] and float32 outputs [batch, 1]. */
  finish(inputs: readonly string[], outputs: readonly string[]): Uint8Array {
    const graph = new Writer();
    for (const node of this.#nodes) graph.uint32(tag(1, 2)).bytes(node);
    graph.uint32(tag(2, 2)).string("rankfleet-bench");
    for (const tensor of this.#initializers) graph.uint32(tag(5, 2)).bytes(tensor);
    for (const name of inputs) {
      graph.uint32(tag(11, 2)).bytes(valueInfo(name, INT64, ["batch", "sequence"]));
    }
    for (const name of outputs) graph.uint32(tag(12, 2)).bytes(valueInfo(name, FLOAT, ["batch", 1]));
    const opset = new Writer().uint32(tag(2, 0)).int64(OPSET).finish();
    const model = new Writer().uint32(tag(1, 0)).int64(IR_VERSION);
    model.uint32(tag(7, 2)).bytes(graph.finish()).uint32(tag(8, 2)).bytes(opset);
    return model.finish();
  }

  #fresh(): string {
    return `v${this.#names++}`;
  }
}

const FLOAT = 1;
const INT64 = 7;
/** LayerNormalization came with 17. */
const OPSET = 17;
const IR_VERSION = 8;

function tag(field: number, wireType: number): number {
  return (field << 3) | wireType;
}

function dataType(data: TensorData): number {
  if (data instanceof Float32Array) return FLOAT;
  if (data instanceof Uint8Array) return 2;
  return data instanceof Int8Array ? 3 : INT64;
}

function attribute(name: string, value: Attribute): Uint8Array {
  const writer = new Writer().uint32(tag(1, 2)).string(name);
  if ("int" in value) writer.uint32(tag(3, 0)).int64(value.int).uint32(tag(20, 0)).int32(2);
  else if ("float" in value) {
    writer.uint32(tag(2, 5)).float(value.float).uint32(tag(20, 0)).int32(1);
  } else {
    for (const each of value.ints) writer.uint32(tag(8, 0)).int64(each);
    writer.uint32(tag(20, 0)).int32(7);
  }
  return writer.finish();
}

function valueInfo(
  name: string,
  elementType: number,
  dims: readonly (string | number)[],
): Uint8Array {
  const shape = new Writer();
  for (const dim of dims) {
    const each = new Writer();
    if (typeof dim === "string") each.uint32(tag(2, 2)).string(dim);
    else each.uint32(tag(1, 0)).int64(dim);
    shape.uint32(tag(1, 2)).bytes(each.finish());
  }
  const tensor = new Writer().uint32(tag(1, 0)).int32(elementType);
  tensor.uint32(tag(2, 2)).bytes(shape.finish());
  const type = new Writer().uint32(tag(1, 2)).bytes(tensor.finish());
  return new Writer().uint32(tag(1, 2)).string(name).uint32(tag(2, 2)).bytes(type.finish()).finish();
}
