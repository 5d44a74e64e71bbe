/**
 * A test collection on disk, in BEIR's layout: `corpus.jsonl` ({id or _id, title?, text?}, one of
 * the two there), `queries.jsonl` ({id or _id, text}) and `qrels.tsv` or `qrels/test.tsv`. Further
 * fields are ignored.
 */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { CollectionError } from "./collection-error.ts";
import { readLines } from "./lines.ts";
import { type Judgments, readQrels } from "./qrels.ts";
import { readTopics } from "./trec/topics.ts";

export interface CollectionDocument {
  readonly id: string;
  readonly title?: string;
  /** May be empty, where the title is all there is. */
  readonly text: string;
}

export interface CollectionQuery {
  readonly id: string;
  readonly text: string;
}

export interface Collection {
  readonly documents: readonly CollectionDocument[];
  /** Also those without a judgment. */
  readonly queries: readonly CollectionQuery[];
  readonly judgments: Judgments;
}

export interface CollectionFiles {
  /** Judgments, instead of the folder's. */
  readonly qrels?: string | undefined;
  /** TREC topics, instead of `queries.jsonl`. */
  readonly topics?: string | undefined;
  /** Whether a folder without judgments will do. Default false. */
  readonly mayLackJudgments?: boolean;
}

/** @throws CollectionError naming file, line and field. */
export async function readCollection(
  folder: string,
  { qrels, topics, mayLackJudgments = false }: CollectionFiles = {},
): Promise<Collection> {
  const documents = await collect(readCorpus(folder));
  const queries =
    topics === undefined ? await collect(readQueries(folder)) : await readTopics(topics);
  const file = qrels ?? qrelsFile(folder);
  if (qrels === undefined && !mayLackJudgments && !existsSync(file)) {
    const problem =
      "there are no judgments: neither qrels.tsv nor qrels/test.tsv; name a file by --qrels";
    throw new CollectionError(problem, { code: "file_missing", file: folder });
  }
  if (mayLackJudgments && !existsSync(file)) return { documents, queries, judgments: new Map() };
  const judgments = await readQrels(file);
  if (mayLackJudgments) return { documents, queries, judgments };
  if (!queries.some(({ id }) => judgments.has(id))) {
    const [first, asked] = [[...judgments.keys()][0], queries[0]?.id];
    const named = (id: string | undefined): string => (id === undefined ? "not there" : `"${id}"`);
    const problem = `judges none of the queries: its first is ${named(first)}, theirs ${named(asked)}`;
    throw new CollectionError(problem, { code: "file_invalid", file });
  }
  return { documents, queries, judgments };
}

/** What a reranker reads of a document: its title, as a sentence of its own, and its text. */
export function documentText({ title, text }: CollectionDocument): string {
  return title === undefined ? text : `${title}. ${text}`;
}

/** One document at a time, for a corpus that does not fit into memory. */
export async function* readCorpus(folder: string): AsyncGenerator<CollectionDocument> {
  for await (const record of readRecords(join(folder, "corpus.jsonl"))) {
    const { id } = record;
    const title = record.text("title", "optional");
    // An empty text beside no title stays a document: published collections have such (Cranfield's 471).
    const text = record.text("text", title.trim() === "" ? "or a title" : "optional");
    yield title ? { id, title, text } : { id, text };
  }
}

export async function* readQueries(folder: string): AsyncGenerator<CollectionQuery> {
  for await (const record of readRecords(join(folder, "queries.jsonl"))) {
    yield { id: record.id, text: record.text("text", "not empty") };
  }
}

// Array.fromAsync came with Node 22.
async function collect<Item>(items: AsyncIterable<Item>): Promise<Item[]> {
  const all: Item[] = [];
  for await (const item of items) all.push(item);
  return all;
}

function qrelsFile(folder: string): string {
  const flat = join(folder, "qrels.tsv");
  const nested = join(folder, "qrels", "test.tsv");
  return !existsSync(flat) && existsSync(nested) ? nested : flat;
}

type TextRule = "optional" | "or a title" | "not empty";

interface JsonRecord {
  readonly id: string;
  text(field: string, rule: TextRule): string;
}

async function* readRecords(file: string): AsyncGenerator<JsonRecord> {
  const seen = new Set<string>();
  for await (const { number: line, text: json } of readLines(file)) {
    const fail = (problem: string, field?: string, cause?: unknown): CollectionError =>
      new CollectionError(problem, {
        code: "file_invalid",
        file,
        line,
        cause,
        ...(field !== undefined && { field }),
      });
    const fields = parseObject(json, fail);
    const field = "_id" in fields ? "_id" : "id";
    const given = fields[field];
    const isId = typeof given === "string" || Number.isSafeInteger(given);
    // Without blanks at its ends, as the columns of judgments and runs are read.
    const id = String(given).trim();
    if (!isId || id === "") {
      throw fail(`"${field}" must be a non-empty string, or an integer below 2^53`, field);
    }
    if (/[\t\n\r]/u.test(id)) {
      throw fail(
        `"${field}" has a tab or a line break in it, which judgments and runs cannot write`,
        field,
      );
    }
    if (seen.has(id)) throw fail(`the id "${id}" is there already`, field);
    seen.add(id);
    yield { id, text: (name, rule) => textOf(fields, name, rule, fail) };
  }
}

type Fail = (problem: string, field?: string, cause?: unknown) => CollectionError;

function parseObject(json: string, fail: Fail): Record<string, unknown> {
  let value: unknown;
  try {
    value = JSON.parse(json);
  } catch (cause) {
    throw fail(`is not JSON: ${(cause as Error).message}`, undefined, cause);
  }
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw fail("expected a JSON object");
  }
  return value as Record<string, unknown>;
}

function textOf(fields: Record<string, unknown>, name: string, rule: TextRule, fail: Fail): string {
  const value = fields[name] ?? (rule === "optional" ? "" : undefined);
  if (value === undefined && rule === "or a title") {
    throw fail(
      `there is neither a "text" nor a "title": give it a "text", which may be empty`,
      name,
    );
  }
  if (typeof value !== "string") throw fail(`"${name}" must be a string`, name);
  if (rule === "not empty" && value.trim() === "") throw fail(`"${name}" is empty`, name);
  return value;
}
