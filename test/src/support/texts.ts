import { readFileSync } from "node:fs";
import type { RerankRequest } from "@rankfleet/sdk";

export const passages: readonly string[] = readFileSync(
  new URL("../../../apps/cli/demo-corpus/corpus.jsonl", import.meta.url),
  "utf8",
)
  .trim()
  .split("\n")
  .map((line) => (JSON.parse(line) as { text: string }).text);

/** Requests that differ, of so many documents each. */
export function requests(count: number, documents: number): RerankRequest[] {
  return Array.from({ length: count }, (_, i) => ({
    query: `question ${i}: how do I keep this in order`,
    documents: Array.from(
      { length: documents },
      (_document, j) => passages[(i * 7 + j) % passages.length]!,
    ),
    metadata: { number: i },
  }));
}
