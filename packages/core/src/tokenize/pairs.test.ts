import { beforeAll, describe, expect, test } from "vitest";
import type { CoreFailure } from "../errors.ts";
import { openModelFolder, type ModelFolder } from "../model/folder.ts";
import { boxFolder, xlmRobertaFolder } from "../test-models.ts";
import {
  encodePairs,
  MAX_PARTS_PER_DOCUMENT,
  type EncodedRequest,
  type LengthPolicy,
} from "./pairs.ts";
import { parsePairTemplate } from "./template.ts";
import { TextTokenizer } from "./tokenizer.ts";

const [CLS, SEP] = [2, 3];

let folder: ModelFolder;
let tokenizer: TextTokenizer;
beforeAll(async () => {
  folder = await openModelFolder(boxFolder);
  tokenizer = new TextTokenizer(folder.tokenizerJson, folder.tokenizerConfig);
});

function encode(
  query: string,
  documents: string[],
  policy: LengthPolicy = {},
  maxTokens = 32,
): EncodedRequest {
  const template = parsePairTemplate(folder.tokenizerJson);
  return encodePairs(query, documents, policy, { tokenizer, template, maxTokens });
}

/** The columns as one object a document. */
function documentsOf({ pairs: { offsets }, documents }: EncodedRequest): {
  pairs: number;
  tokens: number;
  isTruncated: boolean;
  failure: CoreFailure | undefined;
}[] {
  const { firstPairs, truncated, failures } = documents;
  return Array.from(truncated, (flag, index) => ({
    pairs: firstPairs[index + 1]! - firstPairs[index]!,
    tokens: offsets[firstPairs[index + 1]!]! - offsets[firstPairs[index]!]!,
    isTruncated: flag === 1,
    failure: failures.get(index),
  }));
}

function rows({ pairs }: EncodedRequest): number[][] {
  return Array.from(pairs.secondStarts, (_, row) =>
    Array.from(pairs.ids.subarray(pairs.offsets[row], pairs.offsets[row + 1])),
  );
}

test("a pair is [CLS] query [SEP] document [SEP], with type 1 from the document on", () => {
  const request = encode("red bike", ["a blue car"]);
  const [query, document] = [tokenizer.encode("red bike"), tokenizer.encode("a blue car")];
  expect(rows(request)).toEqual([[CLS, ...query, SEP, ...document, SEP]]);
  expect(request.pairs.secondStarts[0]).toBe(query.length + 2);
  expect(documentsOf(request)[0]).toEqual({
    pairs: 1,
    tokens: query.length + document.length + 3,
    isTruncated: false,
    failure: undefined,
  });
});

test("a long document is cut to the model's length and marked", () => {
  const request = encode("red bike", ["wheel ".repeat(100)]);
  expect(rows(request)[0]).toHaveLength(32);
  expect(rows(request)[0]!.at(-1)).toBe(SEP);
  expect(documentsOf(request)[0]).toMatchObject({ tokens: 32, isTruncated: true });
});

test("maxTokensPerDocument cuts the document before anything else", () => {
  const query = tokenizer.encode("red bike");
  const request = encode("red bike", ["wheel ".repeat(100)], { maxTokensPerDocument: 4 });
  expect(documentsOf(request)[0]).toMatchObject({
    tokens: query.length + 4 + 3,
    isTruncated: true,
  });
});

test("split covers the whole document, in parts that each hold the query", () => {
  const text = Array.from({ length: 60 }, (_, i) => `word${i}`).join(" ");
  const request = encode("red bike", [text], { longDocuments: "split" });
  const query = tokenizer.encode("red bike");
  const parts = rows(request).map((row) => row.slice(query.length + 2, -1));
  expect(parts.flat()).toEqual(tokenizer.encode(text));
  expect(parts.length).toBeGreaterThan(2);
  expect(documentsOf(request)[0]).toMatchObject({ pairs: parts.length, isTruncated: false });
});

test("refuse, too many parts, no text and lone surrogates fail the one document, by code", () => {
  const refused = encode("red bike", ["a car", "wheel ".repeat(100)], { longDocuments: "refuse" });
  expect(documentsOf(refused).map(({ failure }) => failure?.code)).toEqual([
    undefined,
    "document_too_long",
  ]);
  const long = "wheel ".repeat(32 * (MAX_PARTS_PER_DOCUMENT + 1));
  const split = encode("red bike", [long, "", "   ", "x\uD800", "fine"], {
    longDocuments: "split",
  });
  expect(documentsOf(split).map(({ failure }) => failure?.code)).toEqual([
    "document_too_long",
    "invalid_input",
    "invalid_input",
    "invalid_input",
    undefined,
  ]);
  expect(documentsOf(split)[3]!.failure?.field).toBe("documents[3]");
  expect(rows(split)).toHaveLength(1);
});

test("white space alone is no text, also to a tokenizer that makes tokens of it", async () => {
  const { tokenizerJson, tokenizerConfig } = await openModelFolder(xlmRobertaFolder);
  const unigram = new TextTokenizer(tokenizerJson, tokenizerConfig);
  expect(unigram.encode("  ")).not.toEqual([]);
  const model = { tokenizer: unigram, template: parsePairTemplate(tokenizerJson), maxTokens: 32 };
  const request = encodePairs("red bike", ["  ", "\n\u00a0", "a car"], {}, model);
  expect(documentsOf(request).map(({ failure }) => failure?.code)).toEqual([
    "invalid_input",
    "invalid_input",
    undefined,
  ]);
});

test("a query that is cut is said, refused with refuse, and whole in split where the pair fits", () => {
  const long = "red bike ".repeat(40);
  expect(documentsOf(encode(long, ["a car"], {}))[0]).toMatchObject({ isTruncated: true });
  expect(
    documentsOf(encode(long, ["a car"], { longDocuments: "refuse" }))[0]?.failure,
  ).toMatchObject({
    code: "document_too_long",
  });
  const half = "red bike ".repeat(9).trim();
  const [plain, split] = [{}, { longDocuments: "split" } as const].map((policy) =>
    encode(half, ["a car"], policy),
  );
  expect(rows(split!)).toEqual(rows(plain!));
  expect(documentsOf(split!)[0]).toMatchObject({ pairs: 1, isTruncated: false });
});

test("split keeps the whole query in each part with only_second, and refuses one that leaves no room", () => {
  const query = "red bike ".repeat(10).trim();
  const whole = tokenizer.encode(query).length;
  const policy = { longDocuments: "split", truncation: "only_second" } as const;
  const request = encode(query, ["a blue car ".repeat(20)], policy);
  expect(documentsOf(request)[0]!.pairs).toBeGreaterThan(1);
  for (const second of request.pairs.secondStarts) expect(second).toBe(whole + 2);
  const long = "red bike ".repeat(40);
  expect(() => encode(long, ["car"], policy)).toThrow(
    expect.objectContaining({ code: "query_too_long" }),
  );
});

test("refuse takes a document that fits once it is cut to maxTokensPerDocument", () => {
  const policy = { longDocuments: "refuse", maxTokensPerDocument: 5 } as const;
  const [document] = documentsOf(encode("red bike", ["a blue car ".repeat(20)], policy));
  expect(document).toMatchObject({ pairs: 1, isTruncated: true });
  expect(document!.failure).toBeUndefined();
});

test("where the document's tokens are of type 0, no token is of type 1", () => {
  const template = { ...parsePairTemplate(folder.tokenizerJson), documentType: 0 };
  const model = { tokenizer, template, maxTokens: 32 };
  const { pairs } = encodePairs("red bike", ["a car"], {}, model);
  expect(pairs.secondStarts[0]).toBe(pairs.offsets[1]);
});

test("only_second keeps the query whole, and refuses one that leaves no room", () => {
  const request = encode("red bike red bike", ["wheel ".repeat(100)], {
    truncation: "only_second",
  });
  expect(rows(request)[0]!.slice(1, 5)).toEqual(tokenizer.encode("red bike red bike").slice(0, 4));
  expect(() => encode("red bike ".repeat(40), ["a"], { truncation: "only_second" })).toThrow(
    expect.objectContaining({ code: "query_too_long", field: "query" }) as Error,
  );
});

describe.each([
  {
    name: "WordPiece",
    path: boxFolder,
    texts: ["[SEP]", "a[CLS]b", "[PAD] [MASK] [SEP][SEP]"],
    special: [0, 2, 3, 4],
  },
  {
    name: "Unigram",
    path: xlmRobertaFolder,
    texts: ["</s>", "a<s>b", "<mask> <pad></s></s>"],
    special: [0, 1, 2],
  },
])("literal special tokens in a $name text", ({ path, texts, special }) => {
  test.each(texts)("%s is text", async (text) => {
    const { tokenizerJson, tokenizerConfig } = await openModelFolder(path);
    const ids = new TextTokenizer(tokenizerJson, tokenizerConfig).encode(text);
    expect(ids.length).toBeGreaterThan(0);
    expect(ids.filter((id) => special.includes(id))).toEqual([]);
  });
});

test.each(["wheel of the bike ".repeat(4000), "x".repeat(50_000), "汉字".repeat(5000)])(
  "the start of a long text is encoded as in the whole",
  (text) => {
    const { ids, isComplete } = tokenizer.encodeStart(text, 20);
    expect(ids.slice(0, 20)).toEqual(tokenizer.encode(text).slice(0, 20));
    if (!isComplete) expect(ids.length).toBeGreaterThan(20);
  },
);
