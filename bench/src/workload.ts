import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

export interface Request {
  readonly query: string;
  readonly documents: readonly string[];
}

/**
 * Requests of 50 candidates each with texts of 5 to 130 words: runs of sentences of the demo's passages,
 * drawn with a fixed seed. No two requests are alike.
 */
export function mixedWorkload(requests: number): Request[] {
  const folder = fileURLToPath(new URL("../../apps/cli/demo-corpus/", import.meta.url));
  const words = readFileSync(`${folder}corpus.jsonl`, "utf8")
    .trim()
    .split("\n")
    .flatMap((line) => (JSON.parse(line) as { text: string }).text.split(" "));
  const random = mulberry32(7);
  const run = (length: number): string => {
    const start = Math.floor(random() * (words.length - length));
    return words.slice(start, start + length).join(" ");
  };
  return Array.from({ length: requests }, () => ({
    query: run(6 + Math.floor(random() * 6)),
    documents: Array.from({ length: 50 }, () => run(5 + Math.floor(125 * random() * random()))),
  }));
}

/** A small seeded generator (Tommy Ettinger's mulberry32, public domain). */
function mulberry32(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296;
  };
}
