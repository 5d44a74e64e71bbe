import { existsSync, readFileSync } from "node:fs";
import { resolve } from "node:path";
import { expect, test } from "vitest";
import { startCommand } from "./support/command.ts";

/** What the card of the model in the box promises, on the two smallest of its collections. */
const card = readFileSync(resolve(import.meta.dirname, "../../models/box/README.md"), "utf8");
const folder = resolve(import.meta.dirname, "../../../shared/data/eval");

/** The card's figures are rounded, and another CPU adds up in another order. */
const TOLERANCE = 0.003;

const missing = `${folder} is not on this machine`;
if (!existsSync(folder)) console.warn(`skipped: ${missing}`);

test.for(["medline", "time"])(
  "%s: nDCG@10 gains what the model card says",
  { timeout: 120_000 },
  async (name, context) => {
    if (!existsSync(folder)) context.skip(missing);
    const row = new RegExp(String.raw`^\| ${name} \| (\S+) \| (\S+) \|`, "mu").exec(card)!;
    const [bm25, fused] = [Number(row[1]), Number(row[2])];
    const args = ["eval", `${folder}/${name}`, "--measures", "ndcg@10", "--json", "-"];
    const { stdout, stderr } = await startCommand(args, {}).ended;
    expect(stderr).not.toContain("could not be scored");
    const { firstStage, reranked } = JSON.parse(stdout) as Record<string, Record<string, number>>;
    const gain = reranked!["ndcg@10"]! - firstStage!["ndcg@10"]!;
    expect(Math.abs(gain - (fused - bm25))).toBeLessThan(TOLERANCE);
  },
);
