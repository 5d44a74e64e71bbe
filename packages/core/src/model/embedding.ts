import { readFile } from "node:fs/promises";
import { join } from "node:path";
import type { ModelFolder } from "./folder.ts";

/** Which of a sequence's token vectors make its one vector. */
export type Pooling = "mean" | "cls" | "last";

export interface EmbeddingConfig {
  readonly pooling: Pooling;
  /** What goes before a text, e.g. `query: ` of E5; empty for most models. */
  readonly prompts: { readonly query: string; readonly document: string };
}

/**
 * Sentence Transformers' own files: `1_Pooling/config.json` (mean where it is absent) and the `prompts`
 * of `config_sentence_transformers.json` (`query`, and `document` or `passage`).
 */
export async function readEmbeddingConfig({ path }: ModelFolder): Promise<EmbeddingConfig> {
  const pooling = await readOptional<Record<string, unknown>>(
    join(path, "1_Pooling", "config.json"),
  );
  const { prompts = {} } = await readOptional<{ prompts?: Record<string, string> }>(
    join(path, "config_sentence_transformers.json"),
  );
  return {
    pooling: pooling["pooling_mode_cls_token"]
      ? "cls"
      : pooling["pooling_mode_lasttoken"]
        ? "last"
        : "mean",
    prompts: {
      query: prompts["query"] ?? "",
      document: prompts["document"] ?? prompts["passage"] ?? "",
    },
  };
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
  return JSON.parse(text) as T;
}
