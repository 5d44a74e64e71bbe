import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { xlmRobertaFolder } from "../test-models.ts";
import { maxTokens } from "./cross-encoder.ts";
import { openModelFolder } from "./folder.ts";

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "folder-test-"));
  cpSync(xlmRobertaFolder, folder, { recursive: true });
});
afterEach(() => rmSync(folder, { recursive: true }));

test.each(["model.onnx_data", "model.onnx_data_1", "model.onnx.data"])(
  "weights beside the graph have a say in the revision: %s",
  async (name) => {
    const alone = await openModelFolder(folder);
    writeFileSync(join(folder, "onnx", name), "one");
    const one = await openModelFolder(folder);
    writeFileSync(join(folder, "onnx", name), "two");
    const two = await openModelFolder(folder);
    expect(new Set([alone.revision, one.revision, two.revision]).size).toBe(3);
    expect(one.weightsBytes).toBe(alone.weightsBytes + 3);
  },
);

test("a lower limit of tokens is part of the revision, a higher one raises nothing", async () => {
  const plain = await openModelFolder(folder);
  const short = await openModelFolder(folder, undefined, 64);
  expect([maxTokens(plain), maxTokens(short)]).toEqual([128, 64]);
  expect(short.revision).not.toBe(plain.revision);
  expect(maxTokens(await openModelFolder(folder, undefined, 4096))).toBe(128);
});

test("positions are counted as RoBERTa does where only the architecture says so", async () => {
  const file = join(folder, "config.json");
  const { model_type: _, ...config } = JSON.parse(readFileSync(file, "utf8")) as {
    model_type: string;
    max_position_embeddings: number;
  };
  writeFileSync(file, JSON.stringify(config));
  rmSync(join(folder, "tokenizer_config.json"));
  expect(maxTokens(await openModelFolder(folder))).toBe(config.max_position_embeddings - 2);
});
