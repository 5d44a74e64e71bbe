import { existsSync } from "node:fs";
import { resolve } from "node:path";
import { expect, test } from "vitest";
import { readCollection } from "../collection.ts";
import { meanNdcg } from "../metrics/ndcg.ts";
import { Bm25Index } from "./bm25.ts";

/**
 * BM25 on whole collections, which stay outside the repository: nDCG@10 of the top 50, linear gain,
 * by this code on 2026-11-23. Issue 3's own BM25 had .50, .66, .43, .65 and .58 (gain not stated).
 */
const EXPECTED = {
  cranfield: 0.4907,
  medline: 0.6672,
  cacm: 0.4772,
  time: 0.6507,
  stackfaq: 0.6372,
};
const TOLERANCE = 0.0005;

const folder = resolve(import.meta.dirname, "../../../../../shared/data/eval");

const missing = `${folder} is not on this machine`;
if (!existsSync(folder)) console.warn(`skipped: ${missing}`);

for (const [name, expected] of Object.entries(EXPECTED)) {
  test(`${name}: nDCG@10 is ${expected}`, async (context) => {
    if (!existsSync(folder)) context.skip(missing);
    const { documents, queries, judgments } = await readCollection(`${folder}/${name}`);
    const index = new Bm25Index(documents);
    const rankings = new Map(queries.map(({ id, text }) => [id, index.search(text, 50)]));
    const { mean } = meanNdcg(rankings, judgments);
    expect(Math.abs(mean - expected)).toBeLessThan(TOLERANCE);
  });
}
