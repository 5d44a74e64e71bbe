import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

export interface Request {
  readonly query: string;
  readonly documents: readonly string[];
}

export interface Workload {
  readonly name: string;
  /** What it stands for, with its lengths. */
  readonly what: string;
  readonly documentsPerRequest: number;
  /** Words of a document, drawn by `random` (0 … 1). */
  readonly words: (random: () => number) => number;
}

/** Lengths are in words; a word is about 1.3 tokens of the models here. */
export const WORKLOADS: Readonly<Record<string, Workload>> = {
  uniform: {
    name: "uniform",
    what: "50 documents of 90 words (about 128 tokens a pair)",
    documentsPerRequest: 50,
    words: () => 90,
  },
  mixed: {
    name: "mixed",
    what: "50 documents of 10 to 400 words, log-normal, median 60",
    documentsPerRequest: 50,
    words: (random) => logNormal(random, 60, 0.8),
  },
  bimodal: {
    name: "bimodal",
    what: "50 documents, four of five of 8 to 24 words (chat), the others of 250 to 380 (pages)",
    documentsPerRequest: 50,
    words: (random) =>
      random() < 0.8 ? 8 + Math.floor(16 * random()) : 250 + Math.floor(130 * random()),
  },
  tiny: {
    name: "tiny",
    what: "jobs of 4 documents, lengths as in mixed",
    documentsPerRequest: 4,
    words: (random) => logNormal(random, 60, 0.8),
  },
  huge: {
    name: "huge",
    what: "jobs of 1,000 documents, lengths as in mixed",
    documentsPerRequest: 1000,
    words: (random) => logNormal(random, 60, 0.8),
  },
};

export const LEAST_WORDS = 10;
export const MOST_WORDS = 400;

/** At least so many pairs of the workload, in whole requests. Seeded: the same pairs each time, no two alike. */
export function requestsOf(workload: Workload, pairs: number): Request[] {
  const random = mulberry32(7);
  const words = corpusWords();
  const run = (length: number): string => {
    const start = Math.floor(random() * (words.length - length));
    return words.slice(start, start + length).join(" ");
  };
  const count = Math.max(1, Math.ceil(pairs / workload.documentsPerRequest));
  let documents = 0;
  return Array.from({ length: count }, () => ({
    query: run(6 + Math.floor(random() * 6)),
    documents: Array.from(
      { length: workload.documentsPerRequest },
      () =>
        // A number at the end: two draws may meet.
        `${run(workload.words(random) - 1)} ${documents++}`,
    ),
  }));
}

/** The words of the demo's passages, one after the other. */
function corpusWords(): string[] {
  const file = new URL("../../apps/cli/demo-corpus/corpus.jsonl", import.meta.url);
  return readFileSync(fileURLToPath(file), "utf8")
    .trim()
    .split("\n")
    .flatMap((line) => (JSON.parse(line) as { text: string }).text.split(" "));
}

function logNormal(random: () => number, median: number, sigma: number): number {
  const normal = Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());
  return Math.min(MOST_WORDS, Math.max(LEAST_WORDS, Math.round(median * Math.exp(sigma * normal))));
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
