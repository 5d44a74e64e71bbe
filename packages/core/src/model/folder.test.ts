import {
  appendFileSync,
  cpSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { xlmRobertaFolder } from "../test-models.ts";
import { openModel } from "./families.ts";
import { openModelFolder } from "./folder.ts";
import { maxTokens } from "./folder-tokenizer.ts";

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "folder-test-"));
  cpSync(xlmRobertaFolder, folder, { recursive: true });
});
afterEach(() => rmSync(folder, { recursive: true }));

test.each(["model.onnx_data", "model.onnx_data_1", "model.onnx.data", "weights.bin"])(
  "weights beside the graph that it names have a say in the revision: %s",
  async (name) => {
    // Where a graph names them: as text within it.
    appendFileSync(join(folder, "onnx", "model.onnx"), `location ${name}`);
    mkdirSync(join(folder, "onnx", "location"));
    const alone = await openModelFolder(folder);
    writeFileSync(join(folder, "onnx", name), "one");
    const one = await openModelFolder(folder);
    writeFileSync(join(folder, "onnx", name), "two");
    const two = await openModelFolder(folder);
    expect(new Set([alone.revision, one.revision, two.revision]).size).toBe(3);
    expect(one.weightsBytes).toBe(alone.weightsBytes + 3);
  },
);

test("what lies beside the graph and is not named there has no say", async () => {
  const alone = await openModelFolder(folder);
  writeFileSync(join(folder, "onnx", "another.bin"), "one");
  expect((await openModelFolder(folder)).revision).toBe(alone.revision);
});

test.each([
  [{ architectures: ["LlamaBidirectionalForSequenceClassification"] }, "no family"],
  [{ model_type: "qwen3", architectures: ["Qwen3ForSequenceClassification"] }, "no family"],
  [{ sentence_transformers: { activation_fn: "torch.nn.modules.activation.Tanh" } }, "Tanh"],
  [{ sentence_transformers: { activation_fn: 7 } }, "activation 7"],
  [{ architectures: "BertForSequenceClassification" }, "no family"],
])("a model that would be scored wrongly is refused: %j", async (change, said) => {
  const file = join(folder, "config.json");
  const config = JSON.parse(readFileSync(file, "utf8")) as object;
  writeFileSync(file, JSON.stringify({ ...config, ...change }));
  const opened = await openModelFolder(folder);
  const refusal = expect.objectContaining({
    code: "model_unsupported",
    message: expect.stringContaining(said) as string,
  }) as Error;
  expect(() => openModel(opened)).toThrow(refusal);
});

test("a lower limit of tokens is part of the revision, a higher one raises nothing", async () => {
  const plain = await openModelFolder(folder);
  const short = await openModelFolder(folder, undefined, 64);
  expect([maxTokens(plain), maxTokens(short)]).toEqual([128, 64]);
  expect(short.revision).not.toBe(plain.revision);
  expect((await openModelFolder(folder, undefined, 4096)).revision).toBe(plain.revision);
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
