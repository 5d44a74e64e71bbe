import { existsSync } from "node:fs";
import { copyFile, mkdir, readFile, rename, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { calibrateActivations, quantizeStatic, readModel, writeModel } from "@rankfleet/graph";
import { boxFolder } from "@rankfleet/worker";
import { requestsOf, WORKLOADS } from "../workloads.ts";
import { crossEncoderGraph, type CrossEncoderShape } from "./cross-encoder-graph.ts";

export const MODEL_NAMES = ["box", "tiny", "l6", "l12", "bge-base", "bge-m3"] as const;
export type ModelName = (typeof MODEL_NAMES)[number];

export const DTYPES = ["fp32", "fp16", "int8"] as const;
export type Dtype = (typeof DTYPES)[number];

/** Without tables of words and positions of its own it has the box's vocabulary and 512 positions. */
type Shape = Omit<CrossEncoderShape, "vocabulary" | "positions"> & Partial<CrossEncoderShape>;

/** Published shapes: MiniLM-L6 and L12 (Wang et al. 2020), BERT base (BGE base), XLM-R large (bge-reranker-v2-m3). */
const SHAPES: Readonly<Record<Exclude<ModelName, "box">, Shape>> = {
  // For tests: fast, and its scores are the same to the last bit in any batch.
  tiny: { layers: 1, hidden: 64, heads: 2, intermediate: 128 },
  l6: { layers: 6, hidden: 384, heads: 12, intermediate: 1536 },
  l12: { layers: 12, hidden: 384, heads: 12, intermediate: 1536 },
  "bge-base": { layers: 12, hidden: 768, heads: 12, intermediate: 3072 },
  "bge-m3": {
    layers: 24,
    hidden: 1024,
    heads: 16,
    intermediate: 4096,
    vocabulary: 250_002,
    positions: 8192,
  },
};

/** The shape of a model with random weights. */
export async function shapeOf(name: Exclude<ModelName, "box">): Promise<CrossEncoderShape> {
  const tokenizer = JSON.parse(await readFile(join(boxFolder(), "tokenizer.json"), "utf8")) as {
    model: { vocab: object };
  };
  const vocabulary = Object.keys(tokenizer.model.vocab).length;
  return { vocabulary, positions: 512, ...SHAPES[name] };
}

const FILES: Readonly<Record<Dtype, string>> = {
  fp32: "model.onnx",
  fp16: "model_fp16.onnx",
  int8: "model_int8.onnx",
};

/** A model folder of this name, built into the repository's cache the first time. */
export async function modelFor(name: ModelName, dtype: Dtype): Promise<string> {
  if (name === "box") {
    if (dtype !== "int8") throw new Error(`--dtype ${dtype}: the model in the box has int8 alone`);
    return boxFolder();
  }
  if (name === "bge-m3" && dtype !== "fp16") {
    throw new Error(`--dtype ${dtype}: one file holds 2 GB, and bge-m3 fits in fp16 alone`);
  }
  const root = fileURLToPath(
    new URL("../../../node_modules/.cache/rankfleet-bench", import.meta.url),
  );
  const folder = join(root, `${name}-2`);
  const file = join(folder, "onnx", FILES[dtype]);
  if (existsSync(file)) return folder;
  process.stderr.write(`building ${name} ${dtype} with random weights …\n`);
  await mkdir(join(folder, "onnx"), { recursive: true });
  const shape = await shapeOf(name);
  for (const each of ["tokenizer.json", "tokenizer_config.json"]) {
    await copyFile(join(boxFolder(), each), join(folder, each));
  }
  const config = {
    architectures: ["BertForSequenceClassification"],
    model_type: "bert",
    id2label: { 0: "relevance" },
    vocab_size: shape.vocabulary,
    hidden_size: shape.hidden,
    num_attention_heads: shape.heads,
    num_hidden_layers: shape.layers,
    type_vocab_size: 2,
    max_position_embeddings: shape.positions,
    pad_token_id: 0,
  };
  await writeFile(join(folder, "config.json"), `${JSON.stringify(config, undefined, 2)}\n`);
  if (dtype === "int8") {
    await modelFor(name, "fp32");
    const model = await readModel(join(folder, "onnx", FILES.fp32));
    quantizeStatic(model, await calibrateActivations(folder, requestsOf(WORKLOADS["mixed"]!, 50)));
    await writeModel(`${file}.part`, model);
  } else {
    await writeModel(`${file}.part`, crossEncoderGraph(shape, dtype));
  }
  await rename(`${file}.part`, file);
  return folder;
}
