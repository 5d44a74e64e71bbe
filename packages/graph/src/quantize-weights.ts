import { linearLayers, type LinearLayer } from "./linear-layers.ts";
import type { OnnxModel, OnnxTensor } from "./model-file.ts";
import { dropUnused } from "./quantize-static.ts";
import { tensorOf } from "./tensor.ts";

/** Weights that share a scale. */
const BLOCK = 128;

/**
 * 8-bit weights, float arithmetic: `MatMulNBits` of ONNX Runtime (domain com.microsoft), in place. No
 * calibration, a pair's score depends on nothing but the pair, and a quarter of the size.
 *
 * A block of {@link BLOCK} inputs of one output has one scale; the zero point is 128. accuracy_level 4 lets
 * the runtime compute in int8. Layers of `Gemm` stay as they are.
 *
 * @returns how many layers were quantised.
 */
export function quantizeWeights(model: OnnxModel): number {
  const { graph } = model;
  const constants: OnnxTensor[] = [];
  let layers = 0;
  for (const layer of linearLayers(model)) {
    if (layer.node.op_type !== "MatMul") continue;
    const { node, activation, inputs, outputs, weight } = layer;
    if (!constants.some(({ name }) => name === `${weight}_blocks`))
      constants.push(...blocks(layer));
    const integer = (name: string, i: number): { name: string; type: number; i: number } => ({
      name,
      type: 2,
      i,
    });
    graph.node[graph.node.indexOf(node)] = {
      op_type: "MatMulNBits",
      domain: "com.microsoft",
      ...(node.name === undefined ? {} : { name: node.name }),
      input: [activation, `${weight}_blocks`, `${weight}_scales`],
      output: node.output,
      attribute: [
        integer("K", inputs),
        integer("N", outputs),
        integer("bits", 8),
        integer("block_size", BLOCK),
        integer("accuracy_level", 4),
      ],
    };
    layers++;
  }
  if (layers > 0 && !model.opset_import.some(({ domain }) => domain === "com.microsoft")) {
    model.opset_import.push({ domain: "com.microsoft", version: 1 });
  }
  graph.initializer.push(...constants);
  dropUnused(model);
  return layers;
}

function blocks({ weight, values, inputs, outputs }: LinearLayer): OnnxTensor[] {
  const count = Math.ceil(inputs / BLOCK);
  const scales = new Float32Array(outputs * count);
  const quantised = new Uint8Array(outputs * count * BLOCK).fill(128);
  for (let output = 0; output < outputs; output++) {
    for (let block = 0; block < count; block++) {
      const to = Math.min(inputs, (block + 1) * BLOCK);
      let most = 1e-12;
      for (let input = block * BLOCK; input < to; input++) {
        most = Math.max(most, Math.abs(values[input * outputs + output]!));
      }
      const scale = most / 127;
      scales[output * count + block] = scale;
      for (let input = block * BLOCK; input < to; input++) {
        const place = (output * count + block) * BLOCK + (input - block * BLOCK);
        quantised[place] = 128 + Math.round(values[input * outputs + output]! / scale);
      }
    }
  }
  return [
    tensorOf(`${weight}_blocks`, [outputs, count, BLOCK], quantised),
    tensorOf(`${weight}_scales`, [outputs * count], scales),
  ];
}
