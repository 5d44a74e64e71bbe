import type { OnnxModel, OnnxNode } from "./model-file.ts";
import { floats, sizes } from "./tensor.ts";

/** A matrix product with a constant float32 matrix: what holds nearly all of a transformer's arithmetic. */
export interface LinearLayer {
  readonly node: OnnxNode;
  /** Name of what is multiplied. */
  readonly activation: string;
  readonly weight: string;
  /** Row by row, [inputs, outputs] of `MatMul`, or [outputs, inputs] of a transposed `Gemm`. */
  readonly values: Float32Array;
  readonly inputs: number;
  readonly outputs: number;
  readonly isTransposed: boolean;
}

/** Layers smaller than this on either side gain nothing and lose precision: a head of one logit, say. */
const LEAST_SIDE = 32;

export function linearLayers({ graph }: OnnxModel): LinearLayer[] {
  const constants = new Map(graph.initializer.map((tensor) => [tensor.name, tensor]));
  return graph.node.flatMap((node): LinearLayer[] => {
    if (node.op_type !== "MatMul" && node.op_type !== "Gemm") return [];
    const [activation, weight] = node.input;
    const constant = constants.get(weight ?? "");
    if (activation === undefined || constant === undefined || constants.has(activation)) return [];
    const dims = sizes(constant);
    const values = floats(constant);
    const attribute = (name: string): number =>
      Number(node.attribute?.find((each) => each.name === name)?.i ?? 0);
    const isTransposed = node.op_type === "Gemm" && attribute("transB") === 1;
    if (values === undefined || dims.length !== 2 || attribute("transA") === 1) return [];
    const [inputs, outputs] = isTransposed ? [dims[1]!, dims[0]!] : [dims[0]!, dims[1]!];
    if (Math.min(inputs, outputs) < LEAST_SIDE) return [];
    return [{ node, activation, weight: weight!, values, inputs, outputs, isTransposed }];
  });
}
