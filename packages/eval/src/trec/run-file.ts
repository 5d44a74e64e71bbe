import { CollectionError } from "../collection-error.ts";
import { readLines } from "../lines.ts";
import type { Run } from "../metrics/evaluate-run.ts";
import { type ScoredDocument, trecOrder } from "../metrics/trec-order.ts";

/**
 * Reads a TREC run: `query Q0 document rank score tag` a line. Best first: as in trec_eval the score orders,
 * and neither the rank column nor the order of the lines is believed; `#` begins a comment line.
 *
 * @throws CollectionError naming line and field.
 */
export async function readRun(file: string): Promise<Map<string, ScoredDocument[]>> {
  const run = new Map<string, ScoredDocument[]>();
  const seen = new Set<string>();
  for await (const { number: line, text } of readLines(file)) {
    if (text.startsWith("#")) continue;
    const columns = text.trim().split(/\s+/u);
    const fail = (field: string, problem: string): CollectionError =>
      new CollectionError(problem, { code: "file_invalid", file, line, field });
    if (columns.length !== 6) throw fail("columns", `expected 6 columns, found ${columns.length}`);
    const [query, , id, , scoreText] = columns as [string, string, string, string, string];
    const score = Number(scoreText);
    if (!Number.isFinite(score)) throw fail("score", `expected a number, found "${scoreText}"`);
    const pair = `${query}\t${id}`;
    if (seen.has(pair)) throw fail("document", `"${id}" is ranked twice for "${query}"`);
    seen.add(pair);
    const ranking = run.get(query);
    if (ranking === undefined) run.set(query, [{ id, score }]);
    else ranking.push({ id, score });
  }
  for (const [query, ranking] of run) run.set(query, trecOrder(ranking));
  return run;
}

/** The lines of a TREC run file, best first; ties as trec_eval breaks them, so ranks say the same. */
export function* formatRun(run: Run, tag: string): Generator<string> {
  for (const [query, ranking] of run) {
    let rank = 0;
    for (const { id, score } of trecOrder(ranking)) {
      yield `${query} Q0 ${id} ${++rank} ${score} ${tag}\n`;
    }
  }
}
