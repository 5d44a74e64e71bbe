import { createHash } from "node:crypto";
import { createReadStream, type Dirent } from "node:fs";
import { readdir, readFile, stat } from "node:fs/promises";
import { basename, join, resolve } from "node:path";
import { CoreError } from "../errors.ts";
import type { TokenizerJson } from "../tokenize/tokenizer-json.ts";

/**
 * A model on disk, laid out as on the Hugging Face hub: `config.json`, `tokenizer.json`,
 * `tokenizer_config.json` (optional) and `onnx/model<suffix>.onnx` (or `model<suffix>.onnx`).
 */
export interface ModelFolder {
  readonly path: string;
  readonly config: ModelConfig;
  readonly tokenizerJson: TokenizerJson;
  readonly tokenizerConfig: TokenizerConfig;
  readonly weights: string;
  readonly weightsBytes: number;
  readonly dtype: string;
  /** First 12 hex digits of the SHA-256 over every file that has a say in a score. */
  readonly revision: string;
}

/** The fields of `config.json` that core reads. */
export interface ModelConfig {
  readonly model_type?: string;
  readonly architectures?: readonly string[];
  readonly num_labels?: number;
  readonly id2label?: Readonly<Record<string, string>>;
  readonly max_position_embeddings?: number;
  readonly type_vocab_size?: number;
  readonly pad_token_id?: number | null;
  readonly sentence_transformers?: { readonly activation_fn?: string };
  readonly sbert_ce_default_activation_function?: string;
  /** Our own: what only the model in the box says. */
  readonly rankfleet?: { readonly first_stage_weight?: number };
}

export interface TokenizerConfig {
  readonly model_max_length?: number;
  readonly pad_token?: string | { readonly content: string } | null;
}

/**
 * File suffix → dtype, as Transformers.js and the hub's exports name them. The first that exists is
 * taken when none is asked for.
 */
const DTYPES: readonly (readonly [suffix: string, dtype: string])[] = [
  ["", "fp32"],
  ["_fp16", "fp16"],
  ["_int8", "int8"],
  ["_uint8", "uint8"],
  // 8-bit weights, float arithmetic: what `rankfleet models quantize --method weights` writes.
  ["_w8", "w8"],
  ["_quantized", "q8"],
  ["_q4", "q4"],
  ["_q4f16", "q4f16"],
  ["_bnb4", "bnb4"],
  ["_qint8_avx512_vnni", "qint8_avx512_vnni"],
  ["_quint8_avx2", "quint8_avx2"],
];

/**
 * Reads everything about a model but its weights.
 *
 * @param dtype Which weights to take, e.g. `fp32` or `q8`; by default the first that the folder has.
 * @param maxTokens Longest pair; by default, and at most, what the model's own files say. It has a say in scores, and
 *   so in the revision.
 * @throws CoreError `model_folder_invalid` naming the file and what is wrong with it.
 */
export async function openModelFolder(
  path: string,
  dtype?: string,
  maxTokens?: number,
): Promise<ModelFolder> {
  const folder = resolve(path);
  const files = await listFiles(folder);
  if (files.includes("config.json")) {
    const config = await readJson<ModelConfig>(folder, "config.json");
    if (config.model_type === SIMULATED_MODEL_TYPE) return simulatedFolder(folder, config);
  }
  const weights = findWeights(folder, files, dtype);
  const noConfig: TokenizerConfig = {};
  const [config, tokenizerJson, tokenizerConfig] = await Promise.all([
    readJson<ModelConfig>(folder, "config.json"),
    readJson<TokenizerJson>(folder, "tokenizer.json"),
    files.includes("tokenizer_config.json")
      ? readJson<TokenizerConfig>(folder, "tokenizer_config.json")
      : noConfig,
  ]);
  if (typeof tokenizerJson.model?.type !== "string") {
    throw invalid(
      `${join(folder, "tokenizer.json")} has no model; is it a Hugging Face fast tokenizer?`,
    );
  }
  const external = await externalData(folder, weights.file, files);
  const ownLimit = tokenizerConfig.model_max_length ?? Infinity;
  if (maxTokens !== undefined && !(maxTokens >= 8)) {
    throw invalid(`maxTokens: ${maxTokens} leaves no room for a query and a document`);
  }
  const identity = [
    "config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    weights.file,
    ...external,
  ];
  return {
    path: folder,
    config,
    tokenizerJson,
    tokenizerConfig:
      maxTokens === undefined
        ? tokenizerConfig
        : {
            ...tokenizerConfig,
            model_max_length: Math.min(maxTokens, ownLimit),
          },
    weights: join(folder, weights.file),
    weightsBytes: await totalBytes(folder, [weights.file, ...external]),
    dtype: weights.dtype,
    revision: await digest(
      folder,
      identity.filter((file) => files.includes(file)),
      maxTokens !== undefined && maxTokens < ownLimit ? `max tokens ${maxTokens}` : "",
    ),
  };
}

/**
 * The files beside the graph that hold weights of it: those whose names it contains. (By custom `model.onnx_data`,
 * `model.onnx_data_1` of optimum, `model.onnx.data` of PyTorch's exporter, but any name will do.)
 */
async function externalData(
  folder: string,
  graph: string,
  files: readonly string[],
): Promise<string[]> {
  const place = graph.slice(0, graph.lastIndexOf("/") + 1);
  const beside = files.filter(
    (file) =>
      file.startsWith(place) &&
      !file.slice(place.length).includes("/") &&
      !/\.(?:onnx|json|md|txt)$/u.test(file),
  );
  const names = new Map(beside.map((file) => [file.slice(place.length), file]));
  const named = await wordsIn(join(folder, graph), [...names.keys()]);
  return named.map((name) => names.get(name)!);
}

/**
 * Whether the graph has operators that take one scale for the whole activation tensor of a batch: then a pair's score
 * depends on what else is in its batch, and on the padding.
 */
export async function quantizesDynamically({ weights }: ModelFolder): Promise<boolean> {
  return (await wordsIn(weights, ["DynamicQuantize"])).length > 0;
}

/** Which of the words a file holds; names stand in a graph's file as they are. */
async function wordsIn(path: string, words: readonly string[]): Promise<string[]> {
  if (words.length === 0) return [];
  const overlap = Math.max(...words.map((word) => Buffer.byteLength(word)));
  const found = new Set<string>();
  let before = Buffer.alloc(0);
  for await (const chunk of createReadStream(path, { highWaterMark: CHUNK })) {
    const piece = Buffer.concat([before, chunk as Buffer]);
    for (const word of words) if (piece.includes(word)) found.add(word);
    before = piece.subarray(-overlap);
  }
  return [...found];
}

/** In pieces this large a model in the box takes 9 ms instead of 20. */
const CHUNK = 1024 * 1024;

/** `model_type` of a folder that holds nothing but a `config.json`: see `simulated.ts`. */
export const SIMULATED_MODEL_TYPE = "rankfleet-simulated";

async function simulatedFolder(folder: string, config: ModelConfig): Promise<ModelFolder> {
  return {
    path: folder,
    config,
    tokenizerJson: { model: { type: "simulated", vocab: {} } },
    tokenizerConfig: {},
    weights: join(folder, "config.json"),
    weightsBytes: 0,
    dtype: "simulated",
    revision: await digest(folder, ["config.json"]),
  };
}

/** The name that a folder goes by unless it is given another: its own. */
export function folderName(path: string): string {
  return basename(resolve(path));
}

async function listFiles(folder: string): Promise<string[]> {
  const own = await readdir(folder, { withFileTypes: true }).catch((cause: unknown) => {
    throw invalid(`there is no model folder at ${folder}`, cause);
  });
  const onnx = await readdir(join(folder, "onnx"), { withFileTypes: true }).catch(() => []);
  const files = (entries: readonly Dirent[]): string[] =>
    entries.filter((entry) => !entry.isDirectory()).map(({ name }) => name);
  return [...files(own), ...files(onnx).map((name) => `onnx/${name}`)];
}

function findWeights(
  folder: string,
  files: readonly string[],
  dtype: string | undefined,
): { file: string; dtype: string } {
  const present = DTYPES.flatMap(([suffix, name]) =>
    [`onnx/model${suffix}.onnx`, `model${suffix}.onnx`]
      .filter((file) => files.includes(file))
      .map((file) => ({ file, dtype: name })),
  );
  const found =
    dtype === undefined ? present[0] : present.find((weights) => weights.dtype === dtype);
  if (found !== undefined) return found;
  throw invalid(
    present.length === 0
      ? `${folder} has no onnx/model*.onnx; export one, e.g. with optimum-cli export onnx`
      : `${folder} has no ${dtype} weights; it has ${present.map((weights) => weights.dtype).join(", ")}`,
  );
}

async function readJson<T extends object>(folder: string, name: string): Promise<T> {
  const file = join(folder, name);
  const text = await readFile(file, "utf8").catch((cause: unknown) => {
    throw invalid(`cannot read ${file}`, cause);
  });
  try {
    const json: unknown = JSON.parse(text);
    if (typeof json === "object" && json !== null && !Array.isArray(json)) return json as T;
  } catch (cause) {
    throw invalid(`${file} is not JSON`, cause);
  }
  throw invalid(`${file} is not a JSON object`);
}

async function totalBytes(folder: string, files: readonly string[]): Promise<number> {
  const sizes = await Promise.all(files.map(async (file) => (await stat(join(folder, file))).size));
  return sizes.reduce((sum, size) => sum + size, 0);
}

async function digest(folder: string, files: readonly string[], more = ""): Promise<string> {
  const hash = createHash("sha256").update(more);
  for (const file of files.toSorted()) {
    hash.update(`${file}\0`);
    const chunks = createReadStream(join(folder, file), { highWaterMark: CHUNK });
    for await (const chunk of chunks) hash.update(chunk as Buffer);
  }
  return hash.digest("hex").slice(0, 12);
}

function invalid(message: string, cause?: unknown): CoreError {
  return new CoreError("model_folder_invalid", message, { field: "model", cause });
}
