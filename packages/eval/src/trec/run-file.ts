import { CollectionError } from "../collection-error.ts";
import { readLines } from "../lines.ts";
import type { Run } from "../metrics/evaluate-run.ts";
import { type ScoredDocument, trecOrder } from "../metrics/trec-order.ts";
import { columnsOf, formatColumns } from "./columns.ts";

/**
 * Reads a TREC run: `query Q0 document rank score tag` a line. Best first: as in trec_eval the score orders,
 * and neither the rank column nor the order of the lines is believed. `#` begins a comment line, unless `Q0` is what
 * follows: it is a query's id then, which trec_eval would leave out.
 *
 * @throws CollectionError naming line and field.
 */
export async function readRun(file: string): Promise<Map<string, ScoredDocument[]>> {
  const run = new Map<string, ScoredDocument[]>();
  const seen = new Set<string>();
  for await (const { number: line, text } of readLines(file)) {
    const columns = columnsOf(text, 6);
    if (text.startsWith("#") && columns[1] !== "Q0") continue;
    const fail = (field: string, problem: string): CollectionError =>
      new CollectionError(problem, { code: "file_invalid", file, line, field });
    // A tag may be of several words.
    if (columns.length < 6) {
      const wanted = "query Q0 document rank score tag";
      throw fail("columns", `expected 6 columns, found ${columns.length}: ${wanted}`);
    }
    if (columns.length > 6 && Number.isFinite(Number(columns[5]))) {
      throw fail("columns", "an id seems to have a blank in it: put tabs between the columns");
    }
    const [query, , id, , scoreText] = columns as [string, string, string, string, string];
    if (query === "") throw fail("query", "the query id is empty");
    if (id === "") throw fail("document", "the document id is empty");
    // Number("") is 0, which would be a score.
    const score = scoreText === "" ? Number.NaN : Number(scoreText);
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

/**
 * A TREC run file, query by query; best first, ties as trec_eval breaks them, so ranks say the same. Columns are
 * separated by blanks, or by tabs where an id has a blank in it: trec_eval cannot read such ids, {@link readRun} can.
 */
export function* formatRun(run: Run, tag: string): Generator<string> {
  for (const [query, ranking] of run) {
    yield trecOrder(ranking)
      .map(({ id, score }, index) => formatColumns([query, "Q0", id, index + 1, score, tag]))
      .join("");
  }
}
