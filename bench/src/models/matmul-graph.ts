import type { OnnxModel } from "@rankfleet/graph";
import type { FloatType } from "./float16.ts";
import { FLOAT, GraphWriter } from "./graph-writer.ts";
import { RandomWeights } from "./random-weights.ts";

/** Products in one pass: what goes in and comes out, and a launch, are then nothing beside them. */
export const CHAINED = 8;

/**
 * B·s, and then {@link CHAINED} times times B: square matrices of `size` rows, B with random entries so that products
 * stay as large as it is. In: `s`, float32 [1, 1]. Out: one entry, so that nothing can be left out.
 */
export function matmulGraph(size: number, floatType: FloatType): OnnxModel {
  const graph = new GraphWriter(floatType);
  const weights = new RandomWeights({ seed: 7, floatType, isRepeating: true });
  const matrix = graph.constant(weights.take(size * size, 1 / Math.sqrt(size)), [size, size]);
  let product = graph.node("Mul", [matrix, graph.toFloats("s")]);
  for (let i = 0; i < CHAINED; i++) product = graph.node("MatMul", [product, matrix]);
  const corner = graph.node("Slice", [product, graph.integers(0, 0), graph.integers(1, 1)]);
  graph.toOutput(corner, "corner");
  return graph.finish(["s"], "corner", FLOAT);
}

/** Floating-point operations of a pass: a multiplication and an addition for each of n³. */
export function matmulFlops(size: number): number {
  return CHAINED * 2 * size ** 3;
}
