import { tensorOf, type OnnxModel, type OnnxNode, type OnnxTensor } from "@rankfleet/graph";

type Attribute = NonNullable<OnnxNode["attribute"]>[number];
type Dimensions = readonly { dim_value?: number; dim_param?: string }[];

/** Puts a graph together, node by node; names are made up as it goes. */
export class GraphWriter {
  readonly #nodes: OnnxNode[] = [];
  readonly #constants: OnnxTensor[] = [];
  #names = 0;

  /** A constant; returns its name. */
  constant(data: Float32Array | Int8Array | Uint8Array, dims: readonly number[]): string {
    const name = this.#fresh();
    this.#constants.push(tensorOf(name, dims, data));
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

  /** The model with int64 inputs [batch, sequence] and a float32 output [batch, 1]. */
  finish(inputs: readonly string[], output: string): OnnxModel {
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
        input: inputs.map((name) => value(name, INT64, sequences)),
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

const FLOAT = 1;
const INT64 = 7;
