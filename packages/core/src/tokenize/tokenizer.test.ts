import { readFileSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { AutoTokenizer, env } from "@huggingface/transformers";
import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { boxFolder, xlmRobertaFolder } from "../test-models.ts";
import type { TokenizerJson } from "./tokenizer-json.ts";
import { TextTokenizer } from "./tokenizer.ts";

const read = (folder: string, name: string): object =>
  JSON.parse(readFileSync(join(folder, name), "utf8")) as object;

describe.each([
  ["BERT, word by word", boxFolder],
  ["XLM-RoBERTa, as a whole", xlmRobertaFolder],
])("%s", (_layout, folder) => {
  const json = read(folder, "tokenizer.json") as TokenizerJson;
  const config = read(folder, "tokenizer_config.json");
  const tokenizer = new TextTokenizer(json, config);
  const special = (json.added_tokens ?? []).filter((token) => token.special);

  test("ids are transformers.js's, for whatever text", async () => {
    env.localModelPath = dirname(folder);
    env.allowRemoteModels = false;
    const library = await AutoTokenizer.from_pretrained(basename(folder));
    const odd = [
      "Wörter",
      "don't",
      "e-mail",
      "你好",
      "nai\u0308ve",
      "\u0301",
      "\u00a0",
      "\u2028",
      "\0",
      "x\u200by",
      "\ufeff",
      "🙂",
    ];
    const word = fc.oneof(fc.string({ unit: "binary", maxLength: 12 }), fc.constantFrom(...odd));
    const gap = fc.constantFrom(" ", "  ", "\t", "\n", "\r\n", "");
    const text = fc
      .array(fc.tuple(word, gap), { maxLength: 12 })
      .map((parts) => parts.flat().join(""));
    fc.assert(
      fc.property(text, (value) => {
        fc.pre(value.isWellFormed() && value !== "");
        fc.pre(!special.some((token) => value.includes(token.content)));
        const expected = library.encode(value, { add_special_tokens: false });
        // Twice: the second time words are known.
        for (const ids of [tokenizer.encode(value), tokenizer.encode(value)])
          expect(ids).toEqual(expected);
      }),
      { numRuns: 500 },
    );
  });

  test("the start of a text is the start of its ids", () => {
    const text = "the snake plant stores water in its leaves ".repeat(2000);
    const all = tokenizer.encode(text);
    const { ids, isComplete } = tokenizer.encodeStart(text, 100);
    expect([ids.length > 100, isComplete, ids]).toEqual([true, false, all.slice(0, ids.length)]);
    expect(tokenizer.encodeStart(text, all.length)).toEqual({ ids: all, isComplete: true });
  });

  test.each(["日本語東京の喫茶店", "aGVsbG8gd29ybGQ+", "🙂👩‍👧", "abc"])(
    "also where no white space says where to cut: %s",
    (piece) => {
      const text = piece.repeat(Math.ceil(12_000 / piece.length));
      const { ids, isComplete } = tokenizer.encodeStart(text, 100);
      expect(isComplete).toBe(ids.length <= 100);
      expect(ids.slice(0, 101)).toEqual(tokenizer.encode(text).slice(0, 101));
    },
  );

  test("a megabyte without white space costs no more than its beginning", () => {
    const text = "aGVsbG8+d29ybGQ/".repeat(65_536);
    const { ids, isComplete } = tokenizer.encodeStart(text, 500);
    expect([ids.length, isComplete]).toEqual([501, false]);
  });

  test("a literal special token is text", () => {
    const literal = special.map((token) => token.content).join(" a ");
    const unknown = special.find((token) => /unk/iu.test(token.content))!.id;
    const found = tokenizer
      .encode(literal)
      .filter((id) => special.some((token) => token.id === id));
    expect(found.filter((id) => id !== unknown)).toEqual([]);
  });
});
