import { CoreError } from "@rankfleet/core";
import { linearLayers, type LinearLayer } from "./linear-layers.ts";
import type { OnnxGraph, OnnxModel, OnnxNode, OnnxTensor } from "./model-file.ts";
import { tensorOf } from "./tensor.ts";

/** Between which values an activation lay on calibration text, but for outliers. */
export interface Range {
  readonly min: number;
  readonly max: number;
}

/** The activations whose ranges {@link quantizeStatic} needs. */
export function activationsToCalibrate(model: OnnxModel): string[] {
  return [...new Set(linearLayers(model).map(({ activation }) => activation))];
}

/**
 * int8 with fixed scales (QDQ: QuantizeLinear and DequantizeLinear around each matrix product), in place.
 *
 * Weights are int8 (of seven bits), symmetric, with a scale for each output; activations uint8 with the scale that their
 * calibrated range gives. Nothing depends on what is in the batch, as it does in dynamically quantised
 * files, where one scale is taken over the whole batch, padding included.
 *
 * @returns how many layers were quantised.
 * @throws CoreError `model_unsupported` for a graph before opset 13, which has no scales by channel.
 */
export function quantizeStatic(model: OnnxModel, ranges: ReadonlyMap<string, Range>): number {
  const opset = Number(model.opset_import.find(({ domain }) => !domain)?.version ?? 0);
  if (opset < 13) {
    const message = `the graph is of opset ${opset}; export it with opset 13 or later`;
    throw new CoreError("model_unsupported", message, { field: "model" });
  }
  const { graph } = model;
  const layers = linearLayers(model);
  const added: { before: Map<OnnxNode, OnnxNode[]>; constants: OnnxTensor[] } = {
    before: new Map(),
    constants: [],
  };
  const quantised = new Map<string, string>();
  for (const layer of layers) {
    const nodes: OnnxNode[] = [];
    const range = ranges.get(layer.activation);
    if (range === undefined) continue;
    let activation = quantised.get(layer.activation);
    if (activation === undefined) {
      activation = quantizeActivation(layer.activation, range, nodes, added.constants);
      quantised.set(layer.activation, activation);
    }
    const weight = quantizeWeight(layer, nodes, added.constants);
    layer.node.input[0] = activation;
    layer.node.input[1] = weight;
    added.before.set(layer.node, nodes);
  }
  // A node must stand behind those whose outputs it takes; a shared one stands before its first user.
  graph.node = graph.node.flatMap((node) => [...(added.before.get(node) ?? []), node]);
  graph.initializer.push(...added.constants);
  dropUnused(model);
  return added.before.size;
}

function quantizeActivation(
  name: string,
  { min, max }: Range,
  nodes: OnnxNode[],
  constants: OnnxTensor[],
): string {
  // 0 must have a number of its own: padding and masks are made of it.
  const [low, high] = [Math.min(0, min), Math.max(0, max)];
  const scale = Math.max((high - low) / 255, 1e-9);
  const zero = Math.round(-low / scale);
  constants.push(
    tensorOf(`${name}_scale`, [], Float32Array.of(scale)),
    tensorOf(`${name}_zero`, [], Uint8Array.of(zero)),
  );
  const by = [`${name}_scale`, `${name}_zero`];
  nodes.push(
    { op_type: "QuantizeLinear", input: [name, ...by], output: [`${name}_quantized`] },
    { op_type: "DequantizeLinear", input: [`${name}_quantized`, ...by], output: [`${name}_dq`] },
  );
  return `${name}_dq`;
}

/**
 * Seven bits: without VNNI an x86 processor adds two products of uint8 and int8 in 16 bits, which overflow at 127 × 255
 * × 2, so a file with all eight bits would score differently there.
 */
const MOST = 63;

function quantizeWeight(
  { weight, values, inputs, outputs, isTransposed }: LinearLayer,
  nodes: OnnxNode[],
  constants: OnnxTensor[],
): string {
  const output = `${weight}_dq`;
  if (constants.some(({ name }) => name === `${weight}_int8`)) return output;
  const channelOf = (i: number): number => (isTransposed ? Math.floor(i / inputs) : i % outputs);
  const scales = new Float32Array(outputs);
  for (let i = 0; i < values.length; i++) {
    const channel = channelOf(i);
    scales[channel] = Math.max(scales[channel]!, Math.abs(values[i]!) / MOST, 1e-12);
  }
  const quantised = Int8Array.from(values, (value, i) => Math.round(value / scales[channelOf(i)]!));
  const dims = isTransposed ? [outputs, inputs] : [inputs, outputs];
  constants.push(
    tensorOf(`${weight}_int8`, dims, quantised),
    tensorOf(`${weight}_scale`, [outputs], scales),
    tensorOf(`${weight}_zero`, [outputs], new Int8Array(outputs)),
  );
  nodes.push({
    op_type: "DequantizeLinear",
    input: [`${weight}_int8`, `${weight}_scale`, `${weight}_zero`],
    output: [output],
    attribute: [{ name: "axis", type: 2, i: isTransposed ? 0 : 1 }],
  });
  return output;
}

/** The float weights that nobody takes any more, neither here nor in a branch or loop. */
export function dropUnused({ graph }: OnnxModel): void {
  const used = new Set(namesUsedIn(graph));
  const unused = new Set(graph.initializer.flatMap(({ name }) => (used.has(name) ? [] : [name])));
  graph.initializer = graph.initializer.filter(({ name }) => !unused.has(name));
  // Older exports list their weights among the inputs too, where they would be asked for now.
  graph.input = graph.input.filter(({ name }) => !unused.has(name));
}

function* namesUsedIn(graph: OnnxGraph): Generator<string> {
  for (const { name } of graph.output) yield name;
  for (const { input, attribute = [] } of graph.node) {
    yield* input;
    for (const { g, graphs = [] } of attribute) {
      for (const inner of g ? [g, ...graphs] : graphs) yield* namesUsedIn(inner);
    }
  }
}
