import { cpSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { env, pipeline, type FeatureExtractionPipeline } from "@huggingface/transformers";
import { afterAll, beforeAll, expect, test } from "vitest";
import { Embedder } from "./embedder.ts";
import { pool, readEmbeddingConfig } from "./model/embedding.ts";
import { openModelFolder } from "./model/folder.ts";
import { boxFolder, xlmRobertaFolder } from "./test-models.ts";

let embedder: Embedder;
beforeAll(async () => {
  embedder = await Embedder.load(xlmRobertaFolder, { threads: 1 });
});
afterAll(() => embedder.close());

const texts = [
  "oil the chain",
  "a",
  "boil the egg for six minutes and cool it at once in cold water",
];

test("vectors are transformers.js's, mean-pooled and normalised, also in a padded batch", async () => {
  env.localModelPath = dirname(xlmRobertaFolder);
  env.allowRemoteModels = false;
  const extract: FeatureExtractionPipeline = await pipeline("feature-extraction", "tiny-xlm-r", {
    dtype: "fp32",
  });
  const vectors = await embedder.embed(texts, "document");
  for (const [i, text] of texts.entries()) {
    const expected = (await extract(text, { pooling: "mean", normalize: true }))
      .data as Float32Array;
    expect(vectors[i]).toHaveLength(32);
    for (const [j, value] of expected.entries()) expect(vectors[i]![j]).toBeCloseTo(value, 4);
  }
});

test("a text beyond the limit is cut, and none is no error", async () => {
  const [vector] = await embedder.embed(["egg ".repeat(5000)], "query");
  expect(Math.hypot(...vector!)).toBeCloseTo(1, 5);
  expect(await embedder.embed([], "query")).toEqual([]);
});

test("a graph without token vectors is refused", async () => {
  const box = await Embedder.load(boxFolder, { threads: 1 });
  await expect(box.embed(["a"], "query")).rejects.toMatchObject({ code: "model_unsupported" });
  await box.close();
});

test("Sentence Transformers files are heeded, and what is not done here is refused", async () => {
  const folder = mkdtempSync(join(tmpdir(), "embedder-test-"));
  cpSync(xlmRobertaFolder, folder, { recursive: true });
  mkdirSync(join(folder, "1_Pooling"));
  const write = (file: string, json: unknown): void =>
    writeFileSync(join(folder, file), JSON.stringify(json));
  const read = async (): Promise<unknown> => readEmbeddingConfig(await openModelFolder(folder));
  write("1_Pooling/config.json", { pooling_mode: "cls" });
  write("sentence_bert_config.json", { max_seq_length: 20 });
  expect(await read()).toMatchObject({ pooling: "cls", maxTokens: 20 });
  write("1_Pooling/config.json", { pooling_mode_max_tokens: true });
  await expect(read()).rejects.toMatchObject({ code: "model_unsupported" });
  write("1_Pooling/config.json", { pooling_mode_mean_tokens: true });
  const module = (type: string): object => ({ type: `sentence_transformers.models.${type}` });
  write("modules.json", [module("Transformer"), module("Pooling"), module("Normalize")]);
  expect(await read()).toMatchObject({ pooling: "mean" });
  write("modules.json", [module("Transformer"), module("Pooling"), module("Dense")]);
  await expect(read()).rejects.toMatchObject({ code: "model_unsupported" });
  writeFileSync(join(folder, "modules.json"), "[");
  await expect(read()).rejects.toMatchObject({ code: "model_folder_invalid" });
  rmSync(folder, { recursive: true });
});

test("pooling takes the mean of real tokens, the first, or the last real one", () => {
  // Two rows of length 2 and dimension 2; the second row's last token is padding.
  const hidden = Float32Array.of(3, 0, 0, 4, 0, 2, 9, 9);
  const rows = (pooling: "mean" | "cls" | "last"): number[] => [
    ...pool(hidden, [2, 1], 2, pooling),
  ];
  expect(rows("cls")).toEqual([1, 0, 0, 1]);
  expect(rows("last")).toEqual([0, 1, 0, 1]);
  const mean = rows("mean");
  expect(mean[0]).toBeCloseTo(0.6, 6);
  expect(mean[1]).toBeCloseTo(0.8, 6);
});
