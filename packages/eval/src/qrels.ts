import { CollectionError } from "./collection-error.ts";
import { readLines } from "./lines.ts";
import { columnsOf, formatColumns } from "./trec/columns.ts";

/** Grades by query, then by document. */
export type Judgments = Map<string, Map<string, number>>;

/**
 * Reads judgments: three columns as in BEIR (query, document, grade) or four as in TREC (query,
 * iteration, document, grade), separated by tabs or else by white space, with or without a header.
 * A grade is a whole number, also one written `1.0`.
 *
 * @throws CollectionError at the first line that is neither, or that judges a pair again.
 */
export async function readQrels(file: string): Promise<Judgments> {
  const judgments: Judgments = new Map();
  let isAtBeginning = true;
  for await (const { number: line, text } of readLines(file)) {
    const columns = columnsOf(text, 3);
    const isFirst = isAtBeginning;
    isAtBeginning = false;
    if (isFirst && HEADER.test(columns.at(-1) ?? "")) continue;
    const fail = (field: string, problem: string): CollectionError =>
      new CollectionError(problem, { code: "file_invalid", file, line, field });
    const { query, document, grade } = parseColumns(columns, fail);
    const grades = judgments.get(query) ?? new Map<string, number>();
    if (grades.has(document))
      throw fail("document", `"${document}" already has a grade for "${query}"`);
    judgments.set(query, grades.set(document, grade));
  }
  return judgments;
}

const HEADER = /^(score|grade|rel|label|judg)/i;

function parseColumns(
  columns: readonly string[],
  fail: (field: string, problem: string) => CollectionError,
): { query: string; document: string; grade: number } {
  if (columns.length !== 3 && columns.length !== 4) {
    const wanted = "query document grade, or query 0 document grade";
    throw fail("columns", `expected 3 or 4 columns, found ${columns.length}: ${wanted}`);
  }
  const [query, document, grade] = [columns[0], columns.at(-2), columns.at(-1)];
  if (!query) throw fail("query", "the query id is empty");
  if (!document) throw fail("document", "the document id is empty");
  if (!grade || !/^-?\d+(?:\.0+)?$/.test(grade) || !Number.isSafeInteger(Number(grade))) {
    throw fail(
      "grade",
      `expected a whole number as grade, found "${grade}": write the grades as 0, 1, 2 …`,
    );
  }
  return { query, document, grade: Number(grade) };
}

/** The lines of a TREC qrels file; with tabs where an id has a blank in it. */
export function* formatQrels(judgments: Judgments): Generator<string> {
  for (const [query, grades] of judgments) {
    for (const [document, grade] of grades) yield formatColumns([query, 0, document, grade]);
  }
}
