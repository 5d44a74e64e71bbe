import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { CoreError } from "../errors.ts";
import type { ModelFolder } from "./folder.ts";

/** Which of a sequence's token vectors make its one vector. */
export type Pooling = "mean" | "cls" | "last";

export interface EmbeddingConfig {
  readonly pooling: Pooling;
  /** What goes before a text, e.g. `query: ` of E5; empty for most models. */
  readonly prompts: { readonly query: string; readonly document: string };
  /** Longest text in tokens, special tokens included; Infinity if only the model's own limit holds. */
  readonly maxTokens: number;
}

/**
 * Sentence Transformers' own files: `modules.json`, `1_Pooling/config.json` (mean where it is absent), the `prompts`
 * of `config_sentence_transformers.json` (`query`, and `document` or `passage`), and `sentence_bert_config.json`.
 *
 * @throws CoreError `model_unsupported` for a module or a pooling that is not done here: its vectors would be others;
 *   `model_folder_invalid` for a file that is not JSON.
 */
export async function readEmbeddingConfig({ path }: ModelFolder): Promise<EmbeddingConfig> {
  const modules = await readOptional<Record<string, { readonly type?: string }>>(
    join(path, "modules.json"),
  );
  for (const module of Object.values(modules)) {
    const type = String(module?.type);
    if (!KNOWN_MODULES.has(type.split(".").at(-1)!)) throw unsupported(path, `the module ${type}`);
  }
  const { max_seq_length: maxTokens } = await readOptional<{ max_seq_length?: number }>(
    join(path, "sentence_bert_config.json"),
  );
  const pooling = await readOptional<Record<string, unknown>>(
    join(path, "1_Pooling", "config.json"),
  );
  const { prompts = {} } = await readOptional<{ prompts?: Record<string, string> }>(
    join(path, "config_sentence_transformers.json"),
  );
  return {
    maxTokens: typeof maxTokens === "number" ? maxTokens : Infinity,
    pooling: poolingOf(path, pooling),
    prompts: {
      query: prompts["query"] ?? "",
      document: prompts["document"] ?? prompts["passage"] ?? "",
    },
  };
}

const KNOWN_MODULES: ReadonlySet<string> = new Set(["Transformer", "Pooling", "Normalize"]);

const POOLINGS: Readonly<Record<string, Pooling>> = {
  pooling_mode_cls_token: "cls",
  pooling_mode_lasttoken: "last",
  pooling_mode_mean_tokens: "mean",
  // As newer versions write it: `"pooling_mode": "cls"`.
  cls: "cls",
  lasttoken: "last",
  mean: "mean",
};

/** Exactly one of the `pooling_mode_…` flags is true, or `pooling_mode` names one. */
function poolingOf(path: string, config: Readonly<Record<string, unknown>>): Pooling {
  const named = config["pooling_mode"];
  const flags = Object.keys(config).filter(
    (key) => key.startsWith("pooling_mode_") && config[key] === true,
  );
  const modes = typeof named === "string" ? [named] : flags;
  if (modes.length === 0) return "mean";
  const pooling = modes.length === 1 ? POOLINGS[modes[0]!] : undefined;
  if (pooling === undefined) throw unsupported(path, `the pooling ${modes.join(" + ")}`);
  return pooling;
}

function unsupported(path: string, what: string): CoreError {
  const message = `${path} has ${what}; known are ${[...KNOWN_MODULES].join(", ")}, with mean, cls or last-token pooling`;
  return new CoreError("model_unsupported", message, { field: "model" });
}

/**
 * Pools token vectors into one unit vector a row.
 *
 * @param hidden float32 [rows, length, dimensions]
 * @param lengths Real tokens of each row, which stand at its beginning.
 * @returns float32 [rows, dimensions]
 */
export function pool(
  hidden: Float32Array,
  lengths: readonly number[],
  length: number,
  pooling: Pooling,
): Float32Array<ArrayBuffer> {
  const rows = lengths.length;
  const dimensions = hidden.length / (rows * length);
  const pooled = new Float32Array(rows * dimensions);
  for (const [row, real] of lengths.entries()) {
    const [from, to] = { mean: [0, real], cls: [0, 1], last: [real - 1, real] }[pooling] as [
      number,
      number,
    ];
    const vector = pooled.subarray(row * dimensions, (row + 1) * dimensions);
    for (let token = from; token < to; token++) {
      const start = (row * length + token) * dimensions;
      for (let i = 0; i < dimensions; i++) vector[i]! += hidden[start + i]!;
    }
    const norm = Math.hypot(...vector) || 1;
    for (let i = 0; i < dimensions; i++) vector[i]! /= norm;
  }
  return pooled;
}

async function readOptional<T extends object>(file: string): Promise<Partial<T>> {
  const text = await readFile(file, "utf8").catch(() => "{}");
  try {
    return JSON.parse(text) as T;
  } catch (cause) {
    throw new CoreError("model_folder_invalid", `${file} is not JSON`, { field: "model", cause });
  }
}
