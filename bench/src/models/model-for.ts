import { existsSync } from "node:fs";
import { copyFile, mkdir, readFile, rename, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { calibrateActivations, quantizeStatic, readModel, writeModel } from "@rankfleet/graph";
import { boxFolder } from "@rankfleet/worker";
import { requestsOf, WORKLOADS } from "../workloads.ts";
import { crossEncoderGraph } from "./cross-encoder-graph.ts";

/** Published shapes: MiniLM-L6 and L12 (Wang et al. 2020), BERT base (BGE base). */
const SHAPES = {
  // For tests: fast, and its scores are the same to the last bit in any batch.
  tiny: { layers: 1, hidden: 64, heads: 2, intermediate: 128 },
  l6: { layers: 6, hidden: 384, heads: 12, intermediate: 1536 },
  l12: { layers: 12, hidden: 384, heads: 12, intermediate: 1536 },
  "bge-base": { layers: 12, hidden: 768, heads: 12, intermediate: 3072 },
} as const;

export type ModelName = "box" | keyof typeof SHAPES;
export type Dtype = "fp32" | "int8";

export const MODEL_NAMES: readonly ModelName[] = ["box", "tiny", "l6", "l12", "bge-base"];

/** A model folder of this name, built into the repository's cache the first time. */
export async function modelFor(name: ModelName, dtype: Dtype): Promise<string> {
  if (name === "box") {
    if (dtype === "int8") throw new Error("--dtype int8: the model in the box has fp32 alone");
    return boxFolder();
  }
  const root = fileURLToPath(
    new URL("../../../node_modules/.cache/rankfleet-bench", import.meta.url),
  );
  const folder = join(root, `${name}-2`);
  const file = join(folder, "onnx", dtype === "fp32" ? "model.onnx" : "model_int8.onnx");
  if (existsSync(file)) return folder;
  process.stderr.write(`building ${name} ${dtype} with random weights …\n`);
  await mkdir(join(folder, "onnx"), { recursive: true });
  const tokenizer = JSON.parse(await readFile(join(boxFolder(), "tokenizer.json"), "utf8")) as {
    model: { vocab: object };
  };
  const vocabulary = Object.keys(tokenizer.model.vocab).length;
  const shape = { ...SHAPES[name], vocabulary, positions: 512 };
  for (const each of ["tokenizer.json", "tokenizer_config.json"]) {
    await copyFile(join(boxFolder(), each), join(folder, each));
  }
  const config = {
    architectures: ["BertForSequenceClassification"],
    model_type: "bert",
    id2label: { 0: "relevance" },
    vocab_size: vocabulary,
    hidden_size: shape.hidden,
    num_attention_heads: shape.heads,
    num_hidden_layers: shape.layers,
    type_vocab_size: 2,
    max_position_embeddings: shape.positions,
    pad_token_id: 0,
  };
  await writeFile(join(folder, "config.json"), `${JSON.stringify(config, undefined, 2)}\n`);
  const fp32 = join(folder, "onnx", "model.onnx");
  if (!existsSync(fp32)) {
    await writeModel(`${fp32}.part`, crossEncoderGraph(shape));
    await rename(`${fp32}.part`, fp32);
  }
  if (dtype === "int8") {
    const model = await readModel(fp32);
    quantizeStatic(model, await calibrateActivations(folder, requestsOf(WORKLOADS["mixed"]!, 50)));
    await writeModel(`${file}.part`, model);
    await rename(`${file}.part`, file);
  }
  return folder;
}
