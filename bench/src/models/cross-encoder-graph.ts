import type { OnnxModel } from "@rankfleet/graph";
import type { FloatType } from "./float16.ts";
import { GraphWriter } from "./graph-writer.ts";
import { RandomWeights } from "./random-weights.ts";

/** The shape of a BERT cross-encoder. */
export interface CrossEncoderShape {
  readonly layers: number;
  readonly hidden: number;
  readonly heads: number;
  readonly intermediate: number;
  readonly vocabulary: number;
  readonly positions: number;
}

/**
 * A BERT cross-encoder (Devlin et al. 2019) with random weights: what a Hugging Face export computes, op by
 * op, so it costs what a trained one costs and ranks nothing. Seeded: the same shape is the same file, and its fp16
 * weights are the fp32 ones, rounded.
 */
export function crossEncoderGraph(
  shape: CrossEncoderShape,
  floatType: FloatType = "fp32",
): OnnxModel {
  return new CrossEncoder(shape, floatType).build();
}

class CrossEncoder {
  readonly #shape: CrossEncoderShape;
  readonly #graph: GraphWriter;
  readonly #weights: RandomWeights;

  constructor(shape: CrossEncoderShape, floatType: FloatType) {
    this.#shape = shape;
    this.#graph = new GraphWriter(floatType);
    const { layers, hidden, intermediate, vocabulary } = shape;
    const numbers = hidden * (vocabulary + layers * (4 * hidden + 2 * intermediate));
    this.#weights = new RandomWeights({ seed: 7, floatType, isRepeating: numbers > MOST_DRAWN });
  }

  build(): OnnxModel {
    const graph = this.#graph;
    const mask = this.#mask();
    let x = this.#embeddings();
    for (let layer = 0; layer < this.#shape.layers; layer++) x = this.#layer(x, mask);
    const first = graph.node("Gather", [x, graph.integer(0)], { axis: { int: 1 } });
    const { hidden } = this.#shape;
    const pooled = graph.node("Tanh", [this.#linear(first, hidden, hidden)]);
    // Larger weights at the end, so that pairs get scores that can be told apart.
    const weight = graph.constant(this.#weights.take(hidden, 1), [hidden, 1]);
    if (graph.floatType === "fp32") graph.node("MatMul", [pooled, weight], {}, "logits");
    else graph.toOutput(graph.node("MatMul", [pooled, weight]), "logits");
    return graph.finish(["input_ids", "attention_mask", "token_type_ids"], "logits");
  }

  /**
   * 0 for a real token, a large negative number for padding: [rows, 1, 1, length]. In fp16, which ends at 65,504, it must
   * leave room for the product that it is added to; e^-10,000 is 0 there too.
   */
  #mask(): string {
    const graph = this.#graph;
    const padding = graph.node("Sub", [graph.scalar(1), graph.toFloats("attention_mask")]);
    const never = graph.scalar(graph.floatType === "fp16" ? -1e4 : -1e9);
    const masked = graph.node("Mul", [padding, never]);
    return graph.node("Unsqueeze", [masked, graph.integers(1, 2)]);
  }

  #embeddings(): string {
    const graph = this.#graph;
    const { vocabulary, positions, hidden } = this.#shape;
    const table = (rows: number): string =>
      graph.constant(this.#weights.take(rows * hidden, 0.05), [rows, hidden]);
    const words = graph.node("Gather", [table(vocabulary), "input_ids"]);
    const types = graph.node("Gather", [table(2), "token_type_ids"]);
    const length = graph.node("Gather", [graph.node("Shape", ["input_ids"]), graph.integers(1)]);
    const place = graph.node("Slice", [
      table(positions),
      graph.integers(0),
      length,
      graph.integers(0),
    ]);
    return this.#norm(graph.node("Add", [graph.node("Add", [words, types]), place]));
  }

  #layer(x: string, mask: string): string {
    const graph = this.#graph;
    const { hidden, heads, intermediate } = this.#shape;
    const size = hidden / heads;
    const project = (perm: readonly number[]): string => {
      const flat = this.#linear(x, hidden, hidden);
      const split = graph.node("Reshape", [flat, graph.integers(0, 0, heads, size)]);
      return graph.node("Transpose", [split], { perm: { ints: perm } });
    };
    const [query, key, value] = [
      project([0, 2, 1, 3]),
      project([0, 2, 3, 1]),
      project([0, 2, 1, 3]),
    ];
    const product = graph.node("MatMul", [query, key]);
    const scaled = graph.node("Div", [product, graph.scalar(Math.sqrt(size))]);
    const weights = graph.node("Softmax", [graph.node("Add", [scaled, mask])], {
      axis: { int: -1 },
    });
    const mixed = graph.node("Transpose", [graph.node("MatMul", [weights, value])], {
      perm: { ints: [0, 2, 1, 3] },
    });
    const joined = graph.node("Reshape", [mixed, graph.integers(0, 0, hidden)]);
    const attended = this.#norm(graph.node("Add", [this.#linear(joined, hidden, hidden), x]));
    const wide = this.#gelu(this.#linear(attended, hidden, intermediate));
    return this.#norm(graph.node("Add", [this.#linear(wide, intermediate, hidden), attended]));
  }

  /** x · W + b */
  #linear(x: string, from: number, to: number): string {
    const graph = this.#graph;
    const weight = graph.constant(this.#weights.take(from * to, 0.05), [from, to]);
    const bias = graph.constant(this.#weights.take(to, 0.01), [to]);
    return graph.node("Add", [graph.node("MatMul", [x, weight]), bias]);
  }

  #norm(x: string): string {
    const graph = this.#graph;
    const { hidden } = this.#shape;
    const scale = graph.constant(new Float32Array(hidden).fill(1), [hidden]);
    const bias = graph.constant(new Float32Array(hidden), [hidden]);
    return graph.node("LayerNormalization", [x, scale, bias], {
      axis: { int: -1 },
      epsilon: { float: 1e-12 },
    });
  }

  /** x · ½ (1 + erf(x ÷ √2)) (Hendrycks and Gimpel 2016). */
  #gelu(x: string): string {
    const graph = this.#graph;
    const erf = graph.node("Erf", [graph.node("Div", [x, graph.scalar(Math.SQRT2)])]);
    const gate = graph.node("Add", [erf, graph.scalar(1)]);
    return graph.node("Mul", [graph.node("Mul", [x, gate]), graph.scalar(0.5)]);
  }
}

/** More than this would take seconds to draw; above it weights repeat. */
const MOST_DRAWN = 100_000_000;
