import { tensorOf, type OnnxModel, type OnnxNode, type OnnxTensor } from "@rankfleet/graph";
import { toHalves, type FloatType } from "./float16.ts";

type Attribute = NonNullable<OnnxNode["attribute"]>[number];
type Dimensions = readonly { dim_value?: number; dim_param?: string }[];

/**
 * Puts a graph together, node by node; names are made up as it goes. Weights and what is computed from them are of one
 * float type; what goes in and comes out is int64 and float32 whatever that is.
 */
export class GraphWriter {
  readonly floatType: FloatType;
  readonly #nodes: OnnxNode[] = [];
  readonly #constants: OnnxTensor[] = [];
  #names = 0;

  constructor(floatType: FloatType = "fp32") {
    this.floatType = floatType;
  }

  /** A constant of the graph's float type, from floats or from the bits of float16; returns its name. */
  constant(data: Float32Array | Uint16Array, dims: readonly number[]): string {
    const name = this.#fresh();
    const isNarrower = this.floatType === "fp16" && data instanceof Float32Array;
    this.#constants.push(tensorOf(name, dims, isNarrower ? toHalves(data) : data));
    return name;
  }

  scalar(value: number): string {
    return this.constant(Float32Array.of(value), []);
  }

  /** An int64 vector: a shape, or axes. */
  integers(...values: readonly number[]): string {
    return this.#int64(values, [values.length]);
  }

  /** An int64 scalar. */
  integer(value: number): string {
    return this.#int64([value], []);
  }

  /** What comes in as another type, as the graph's own. */
  toFloats(input: string): string {
    return this.node("Cast", [input], { to: { int: this.floatType === "fp16" ? FLOAT16 : FLOAT } });
  }

  /** What leaves the graph, as float32. */
  toOutput(input: string, output: string): void {
    this.node("Cast", [input], { to: { int: FLOAT } }, output);
  }

  /** Adds a node with one output; returns the output's name. */
  node(
    op: string,
    inputs: readonly string[],
    attributes: Readonly<
      Record<string, { int: number } | { float: number } | { ints: readonly number[] }>
    > = {},
    output: string = this.#fresh(),
  ): string {
    const attribute = Object.entries(attributes).map(([name, value]): Attribute => {
      if ("int" in value) return { name, type: 2, i: value.int };
      return "float" in value
        ? { name, type: 1, f: value.float }
        : { name, type: 7, ints: value.ints };
    });
    this.#nodes.push({ op_type: op, input: [...inputs], output: [output], attribute });
    return output;
  }

  /** The model with inputs [batch, sequence], by default int64, and a float32 output [batch, 1]. */
  finish(inputs: readonly string[], output: string, inputType: number = INT64): OnnxModel {
    const value = (
      name: string,
      type: number,
      dim: Dimensions,
    ): { name: string; type: object } => ({
      name,
      type: { tensor_type: { elem_type: type, shape: { dim } } },
    });
    const sequences = [{ dim_param: "batch" }, { dim_param: "sequence" }];
    return {
      ir_version: 8,
      // LayerNormalization came with 17.
      opset_import: [{ version: 17 }],
      graph: {
        name: "rankfleet-bench",
        node: this.#nodes,
        initializer: this.#constants,
        input: inputs.map((name) => value(name, inputType, sequences)),
        output: [value(output, FLOAT, [{ dim_param: "batch" }, { dim_value: 1 }])],
      },
    };
  }

  #int64(values: readonly number[], dims: readonly number[]): string {
    const name = this.#fresh();
    const raw_data = new Uint8Array(BigInt64Array.from(values, BigInt).buffer);
    this.#constants.push({ name, dims, data_type: INT64, raw_data });
    return name;
  }

  #fresh(): string {
    return `v${this.#names++}`;
  }
}

export const FLOAT = 1;
const INT64 = 7;
const FLOAT16 = 10;
