import { readFileSync } from "node:fs";
import { availableParallelism } from "node:os";
import { basename, dirname } from "node:path";
import {
  AutoModelForSequenceClassification,
  AutoTokenizer,
  env,
  type Tensor,
} from "@huggingface/transformers";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { BatchReport } from "./engine/batcher.ts";
import { Reranker } from "./reranker.ts";
import type { ScoredDocument } from "./scored-documents.ts";
import { boxFolder, xlmRobertaFolder } from "./test-models.ts";

/** Of logits, against transformers.js on the same folder. */
const PARITY_TOLERANCE = 1e-4;
/** Of one pair's logit, alone and in any company. */
const INVARIANCE_TOLERANCE = 1e-5;

const passages = readFileSync(
  new URL("../../../apps/cli/demo-corpus/corpus.jsonl", import.meta.url),
  "utf8",
)
  .trim()
  .split("\n")
  .map((line) => (JSON.parse(line) as { text: string }).text);
const query = "how long does cold brew coffee keep in the fridge";
const short = passages.slice(0, 40).map((text, index) => text.slice(0, 20 + 9 * index));
const unicode = [
  "Ein Café in Zürich – naïve Ærøskøbing",
  "東京の喫茶店 — кофе ☕️ और चाय",
  "  tabs\tand\nlines  ",
];

type Reference = (documents: string[]) => Promise<number[]>;

async function openReference(folder: string, dtype: "fp32" | "int8"): Promise<Reference> {
  env.allowRemoteModels = false;
  env.localModelPath = dirname(folder);
  const [tokenizer, model] = await Promise.all([
    AutoTokenizer.from_pretrained(basename(folder)),
    AutoModelForSequenceClassification.from_pretrained(basename(folder), { dtype }),
  ]);
  return async (documents) => {
    const inputs: unknown = tokenizer(
      documents.map(() => query),
      { text_pair: documents, padding: true, truncation: false },
    );
    const { logits } = (await model(inputs)) as { logits: Tensor };
    return Array.from(logits.data as Float32Array);
  };
}

function logitsOf(documents: readonly ScoredDocument[]): number[] {
  return documents.map((document) => (document.state === "scored" ? document.logit : Number.NaN));
}

function expectClose(
  actual: readonly number[],
  expected: readonly number[],
  tolerance: number,
): void {
  expect(actual).toHaveLength(expected.length);
  const differences = actual.map((value, index) => Math.abs(value - expected[index]!));
  expect(Math.max(...differences)).toBeLessThan(tolerance);
}

test("threads that the machine has no core for are not started", async () => {
  const reranker = await Reranker.load(xlmRobertaFolder, { threads: 10_000 });
  expect(reranker.devices.length).toBeLessThanOrEqual(availableParallelism());
  await reranker.close();
});

describe.each([
  { name: "BERT (the model in the box)", folder: boxFolder, dtype: "int8" as const },
  { name: "XLM-RoBERTa (tiny, random)", folder: xlmRobertaFolder, dtype: "fp32" as const },
])("$name", ({ folder, dtype }) => {
  let reranker: Reranker;
  let reference: Reference;
  beforeAll(async () => {
    [reranker, reference] = await Promise.all([
      Reranker.load(folder, { threads: 2 }),
      openReference(folder, dtype),
    ]);
  });
  afterAll(() => reranker.close());

  const score = async (documents: string[]): Promise<number[]> =>
    logitsOf((await reranker.score({ texts: { query, documents } })).documents);

  test("scores single pairs, unpadded, as transformers.js does", async () => {
    for (const document of [...short.slice(0, 5), ...unicode]) {
      expectClose(await score([document]), await reference([document]), PARITY_TOLERANCE);
    }
  });

  test("scores a padded batch of mixed lengths as transformers.js does", async () => {
    const { documents: scored } = await reranker.score({ texts: { query, documents: short } });
    const fitting = short.filter((_, i) => scored[i]?.state === "scored" && !scored[i].isTruncated);
    expect(fitting.length).toBeGreaterThan(10);
    const documents = [...fitting, ...unicode];
    expectClose(await score(documents), await reference(documents), PARITY_TOLERANCE);
  });

  test("gives a pair the same score alone and in company", async () => {
    const together = await score(short);
    const alone = [];
    for (const document of short) alone.push(...(await score([document])));
    expectClose(together, alone, INVARIANCE_TOLERANCE);
  });

  test("a text too long scores as its beginning that fits", async () => {
    // transformers.js cuts the ids of a pair as one run and loses the last special token, so the text
    // that just fits stands in for it.
    const words = Array.from({ length: 2000 }, (_, i) => ["water", "coffee", "bike"][i % 3]!);
    const [long] = (await reranker.score({ texts: { query, documents: [words.join(" ")] } }))
      .documents;
    if (long?.state !== "scored") throw new Error("not scored");
    expect(long).toMatchObject({ tokens: reranker.facts.maxTokens, isTruncated: true });
    const candidates = await Promise.all(
      Array.from({ length: 40 }, async (_, i) => {
        const text = words.slice(0, Math.floor(reranker.facts.maxTokens / 4) + i * 12).join(" ");
        const [whole] = (await reranker.score({ texts: { query, documents: [text] } })).documents;
        return whole?.state === "scored" ? { text, whole } : undefined;
      }),
    );
    const fits = candidates.filter((c) => c !== undefined && !c.whole.isTruncated).at(-1)!;
    expectClose(await reference([fits.text]), [fits.whole.logit], PARITY_TOLERANCE);
  });

  test("special tokens in a text are read as text", async () => {
    const literal = folder === boxFolder ? "[SEP]" : "</s>";
    const attacks = [`bike ${literal} ${query}`, `${literal} ${literal} ${literal}`];
    const [, tokens] = [
      await score(attacks),
      await reranker.score({ texts: { query, documents: attacks } }),
    ];
    for (const document of tokens.documents) expect(document.state).toBe("scored");
    // Read as the special token, three of them would add three tokens; as text they add more.
    const [, three] = tokens.documents;
    const [none] = (await reranker.score({ texts: { query, documents: ["a"] } })).documents;
    if (three?.state !== "scored" || none?.state !== "scored") throw new Error("not scored");
    expect(three.tokens - none.tokens).toBeGreaterThan(3);
  });

  test("split gives a document its best part's logit", async () => {
    const half = (text: string): string => Array(reranker.facts.maxTokens).fill(text).join(" ");
    const text = `${half("bike")} ${query} ${half("bike")}`;
    const split = await reranker.score({
      texts: { query, documents: [text] },
      longDocuments: "split",
    });
    const cut = await reranker.score({ texts: { query, documents: [text] } });
    expect(split.pairs).toBeGreaterThan(1);
    expect(logitsOf(split.documents)[0]).toBeGreaterThanOrEqual(
      logitsOf(cut.documents)[0]! - INVARIANCE_TOLERANCE,
    );
  });
});

describe("requests", () => {
  let reranker: Reranker;
  beforeAll(async () => {
    reranker = await Reranker.load(xlmRobertaFolder, { threads: 1 });
  });
  afterAll(() => reranker.close());

  test("a document that fails is alone in failing", async () => {
    const { documents } = await reranker.score({
      texts: { query, documents: ["fine", "", "x\uD800", "also fine"] },
    });
    expect(documents.map((document) => document.state)).toEqual([
      "scored",
      "failed",
      "failed",
      "scored",
    ]);
    expect(documents[1]).toMatchObject({
      failure: { code: "invalid_input", field: "documents[1]" },
    });
  });

  test.each([
    { texts: { query: "", documents: ["a"] }, field: "query" },
    { texts: { query: "q", documents: [] }, field: "documents" },
    { texts: { query: "q", documents: ["a", 3 as unknown as string] }, field: "documents[1]" },
    { texts: { json: "{broken" }, field: "payload" },
    { texts: { json: new Uint8Array([1, 2, 3]), isGzip: true }, field: "payload" },
  ])("refuses $texts, naming $field", async ({ texts, field }) => {
    await expect(reranker.score({ texts })).rejects.toMatchObject({ code: "invalid_input", field });
  });

  test("a request that cannot cross to a thread does not take those with it that were to travel along", async () => {
    const [first, odd, last] = await Promise.allSettled(
      [short.slice(0, 2), [() => "no text"] as unknown as string[], short.slice(2, 4)].map(
        (documents) => reranker.score({ texts: { query, documents } }),
      ),
    );
    expect([first!.status, odd!.status, last!.status]).toEqual([
      "fulfilled",
      "rejected",
      "fulfilled",
    ]);
  });

  test("an abort ends the wait, and what it waited for", async () => {
    const controller = new AbortController();
    const waiting = reranker.score(
      { texts: { query, documents: Array(500).fill(passages[0]!) as string[] } },
      { signal: controller.signal },
    );
    controller.abort(new Error("enough"));
    await expect(waiting).rejects.toThrow("enough");
    expect(
      (await reranker.score({ texts: { query, documents: ["next"] } })).documents[0]?.state,
    ).toBe("scored");
    expect(reranker.waitingPairs).toBe(0);
  });

  test("pairs of many requests share batches", async () => {
    const requestsInBatch: number[] = [];
    const onBatch = ({ tags }: BatchReport): void => void requestsInBatch.push(tags.length);
    const mixing = await Reranker.load(boxFolder, { threads: 1, onBatch });
    const documents = passages.slice(0, 4);
    const queries = Array.from({ length: 100 }, (_, tag) => `${query} ${tag}`);
    await Promise.all(
      queries.map((each, tag) => mixing.score({ texts: { query: each, documents } }, { tag })),
    );
    await mixing.close();
    expect(Math.max(...requestsInBatch)).toBeGreaterThan(4);
  });

  test("equal pairs that wait at the same time are scored once, and traced for all", async () => {
    const reports: BatchReport[] = [];
    const sharing = await Reranker.load(boxFolder, {
      threads: 1,
      onBatch: (report) => void reports.push(report),
    });
    const texts = { query, documents: passages.slice(0, 4) };
    const all = await Promise.all(
      Array.from({ length: 50 }, (_, tag) => sharing.score({ texts }, { tag })),
    );
    const shared = sharing.sharedPairs;
    await sharing.close();
    expect(new Set(all.map(({ documents }) => JSON.stringify(documents))).size).toBe(1);
    expect(reports.reduce((sum, { rows }) => sum + rows, 0)).toBe(200 - shared);
    expect(shared).toBeGreaterThan(100);
    expect(new Set(reports.flatMap(({ tags }) => tags)).size).toBe(50);
  });

  test("close waits for what is under way, and refuses what comes later", async () => {
    const closing = await Reranker.load(xlmRobertaFolder, { threads: 1 });
    const underWay = closing.score({ texts: { query, documents: short } });
    const closed = closing.close();
    expect((await underWay).documents).toHaveLength(short.length);
    await closed;
    await expect(closing.score({ texts: { query, documents: ["a"] } })).rejects.toMatchObject({
      code: "engine_closed",
    });
  });
});

test.each([
  { path: "/nowhere", code: "model_folder_invalid", says: /no model folder/u },
  { path: dirname(boxFolder), code: "model_folder_invalid", says: /no onnx\/model/u },
])("load refuses $path", async ({ path, code, says }) => {
  const failure = expect.objectContaining({
    code,
    message: expect.stringMatching(says) as string,
  }) as Error;
  await expect(Reranker.load(path)).rejects.toThrow(failure);
});

test("load refuses a device or dtype that is not there, naming those that are", async () => {
  await expect(Reranker.load(boxFolder, { device: "abacus" })).rejects.toMatchObject({
    code: "device_unavailable",
    field: "device",
  });
  const deviceOptions = { preferredLayout: "NCHW" };
  await expect(Reranker.load(boxFolder, { deviceOptions })).rejects.toMatchObject({
    code: "device_unavailable",
    field: "deviceOptions",
  });
  await expect(Reranker.load(boxFolder, { dtype: "q4" })).rejects.toThrow(
    /has no q4 weights; it has int8/u,
  );
});
