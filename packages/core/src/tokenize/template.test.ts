import { expect, test } from "vitest";
import { CoreError } from "../errors.ts";
import { parsePairTemplate } from "./template.ts";
import type { PostProcessor } from "./tokenizer-json.ts";

const model = { type: "WordPiece", vocab: {} };
const bert: PostProcessor = {
  type: "TemplateProcessing",
  pair: [
    { SpecialToken: { id: "[CLS]", type_id: 0 } },
    { Sequence: { id: "A", type_id: 0 } },
    { SpecialToken: { id: "[SEP]", type_id: 0 } },
    { Sequence: { id: "B", type_id: 1 } },
    { SpecialToken: { id: "[SEP]", type_id: 1 } },
  ],
  special_tokens: { "[CLS]": { ids: [101] }, "[SEP]": { ids: [102] } },
};
const bertLayout = {
  before: [101],
  between: [102],
  after: [102],
  documentType: 1,
  betweenOfQuery: 1,
  specialTokens: 3,
};

test.each<{ name: string; post_processor: PostProcessor; layout: object }>([
  { name: "TemplateProcessing", post_processor: bert, layout: bertLayout },
  {
    name: "BertProcessing",
    post_processor: { type: "BertProcessing", cls: ["[CLS]", 101], sep: ["[SEP]", 102] },
    layout: bertLayout,
  },
  {
    name: "RobertaProcessing",
    post_processor: { type: "RobertaProcessing", cls: ["<s>", 0], sep: ["</s>", 2] },
    layout: {
      before: [0],
      between: [2, 2],
      after: [2],
      documentType: 0,
      betweenOfQuery: 2,
      specialTokens: 4,
    },
  },
  {
    name: "a template inside a Sequence",
    post_processor: { type: "Sequence", processors: [{ type: "ByteLevel" }, bert] },
    layout: bertLayout,
  },
])("reads the pair's layout from $name", ({ post_processor, layout }) => {
  expect(parsePairTemplate({ model, post_processor })).toEqual(layout);
});

test.each<{ name: string; post_processor: PostProcessor | null }>([
  { name: "no post-processor", post_processor: null },
  { name: "ByteLevel alone", post_processor: { type: "ByteLevel" } },
  {
    name: "a template without document",
    post_processor: { ...bert, pair: [{ Sequence: { id: "A", type_id: 0 } }] },
  },
  {
    name: "a special token without ids",
    post_processor: { ...bert, special_tokens: {} },
  },
])("refuses $name", ({ post_processor }) => {
  expect(() => parsePairTemplate({ model, post_processor })).toThrow(CoreError);
});
