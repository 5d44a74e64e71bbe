import { cp, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { Reranker } from "@rankfleet/core";
import { afterAll, beforeAll, expect, test } from "vitest";
import { calibrateActivations } from "./calibrate-activations.ts";
import { readModel, writeModel, type OnnxModel } from "./model-file.ts";
import { quantizeStatic } from "./quantize-static.ts";
import { quantizeWeights } from "./quantize-weights.ts";

const original = fileURLToPath(new URL("../../../test/fixtures/tiny-xlm-r", import.meta.url));
const weights = join(original, "onnx", "model.onnx");
const requests = [
  {
    query: "do snake plants mind dry soil",
    documents: [
      "A snake plant stores water in its leaves; let the soil dry completely between waterings.",
      "Ferns and peace lilies droop as soon as their soil dries out.",
      "Our shop sells pots and garden tools.",
    ],
  },
  {
    query: "when does the last ferry leave",
    documents: [
      "The last boat leaves the harbour at half past nine.",
      "Tickets are sold at the pier before boarding, and never on board.",
    ],
  },
];

let work: string;
beforeAll(async () => {
  work = await mkdtemp(join(tmpdir(), "rankfleet-graph-"));
});
afterAll(() => rm(work, { recursive: true, force: true }));

/** Logits of all calibration pairs by a model that is the tiny XLM-R of the tests but for its graph. */
async function logitsOf(
  model: OnnxModel,
  dtype: string,
): Promise<{ logits: number[]; deviation: number; deviatesBy: Reranker["deviatesBy"] }> {
  const folder = await mkdtemp(join(work, "model-"));
  await cp(original, folder, { recursive: true, filter: (path) => !path.endsWith(".onnx") });
  const file = join(folder, "onnx", dtype === "fp32" ? "model.onnx" : `model_${dtype}.onnx`);
  await writeModel(file, model);
  const reranker = await Reranker.load(folder, { device: "cpu", dtype, threads: 1 });
  try {
    const all = await Promise.all(requests.map((texts) => reranker.score({ texts })));
    const logits = all.flatMap(({ documents }) =>
      documents.map((each) => (each.state === "scored" ? each.logit : Number.NaN)),
    );
    return { logits, deviation: reranker.deviation, deviatesBy: reranker.deviatesBy };
  } finally {
    await reranker.close();
  }
}

const largest = (a: readonly number[], b: readonly number[]): number =>
  Math.max(...a.map((value, i) => Math.abs(value - b[i]!)));

test("a file that is read and written scores to the last bit as before", async () => {
  const model = await readModel(weights);
  expect(model.graph.input.map(({ name }) => name)).toContain("input_ids");
  const reranker = await Reranker.load(original, { device: "cpu", dtype: "fp32", threads: 1 });
  const expected = await Promise.all(requests.map((texts) => reranker.score({ texts })));
  await reranker.close();
  const { logits } = await logitsOf(model, "fp32");
  expect(logits).toEqual(
    expected.flatMap(({ documents }) =>
      documents.map((each) => (each.state === "scored" ? each.logit : Number.NaN)),
    ),
  );
});

test.each([
  ["static int8", "int8", 0.6],
  ["8-bit weights", "w8", 0.1],
] as const)("%s: near the original, and company changes nothing", async (_, dtype, allowed) => {
  const { logits: inFloat } = await logitsOf(await readModel(weights), "fp32");
  const model = await readModel(weights);
  const layers =
    dtype === "w8"
      ? quantizeWeights(model)
      : quantizeStatic(model, await calibrateActivations(original, requests));
  expect(layers).toBe(3);
  const operators = new Set(model.graph.node.map(({ op_type }) => op_type));
  expect(operators).toContain(dtype === "w8" ? "MatMulNBits" : "QuantizeLinear");
  expect(operators).not.toContain("DynamicQuantizeLinear");
  const { logits, deviation } = await logitsOf(model, dtype);
  const difference = largest(logits, inFloat);
  expect(difference).toBeGreaterThan(0);
  expect(difference).toBeLessThan(allowed);
  expect(deviation).toBeLessThan(1e-4);
});

test("of a file quantised dynamically it is found out that company changes its scores", async () => {
  const model = await readModel(weights);
  quantizeStatic(model, await calibrateActivations(original, requests));
  for (const node of model.graph.node.filter(({ op_type }) => op_type === "QuantizeLinear")) {
    const [quantised] = node.output;
    const parts = [quantised!, `${quantised}_scale`, `${quantised}_zero`];
    Object.assign(node, {
      op_type: "DynamicQuantizeLinear",
      input: [node.input[0]],
      output: parts,
      attribute: [],
    });
    for (const reader of model.graph.node) {
      if (reader.op_type === "DequantizeLinear" && reader.input[0] === quantised) {
        Object.assign(reader, { input: parts, attribute: [] });
      }
    }
  }
  const { deviation, deviatesBy } = await logitsOf(model, "int8");
  expect(deviation).toBeGreaterThan(1e-5);
  expect(deviatesBy).toBe("company");
});

test("weights that are listed among the inputs leave those too", async () => {
  const model = await readModel(weights);
  const before = model.graph.input.map(({ name }) => name);
  model.graph.input = [
    ...model.graph.input,
    ...model.graph.initializer.map(({ name }) => ({ name })),
  ];
  quantizeWeights(model);
  const left = new Set(model.graph.initializer.map(({ name }) => name));
  const asked = model.graph.input.map(({ name }) => name).filter((name) => !left.has(name));
  expect(asked).toEqual(before);
});

test("what is no ONNX file is refused by its name", async () => {
  const file = join(work, "noise.onnx");
  await writeFile(file, "this is text");
  await expect(readModel(file)).rejects.toMatchObject({
    code: "model_folder_invalid",
    message: expect.stringContaining(file) as string,
  });
});
