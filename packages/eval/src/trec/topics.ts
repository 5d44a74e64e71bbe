import { CollectionError } from "../collection-error.ts";
import type { CollectionQuery } from "../collection.ts";
import { readLines } from "../lines.ts";

/**
 * Reads TREC topics: `<top> … <num> Number: 301 … <title> words … </top>`, of which the title is the
 * query. The tags' `Number:` and `Topic:` words are optional, and closing tags are too, as in the
 * tracks of the nineties.
 *
 * @throws CollectionError at a topic without number or title.
 */
export async function readTopics(file: string): Promise<CollectionQuery[]> {
  const queries: CollectionQuery[] = [];
  const seen = new Set<string>();
  let topic: { line: number; text: string } | undefined;
  const unended = (at: number): CollectionError =>
    invalid(file, at, "top", "the topic has no </top>");
  for await (const { number: line, text } of readLines(file)) {
    // Whatever stands between the tags belongs to the topic, on how many lines they are.
    for (const piece of text.split(/(<\/?top>)/iu)) {
      if (/^<top>$/iu.test(piece)) {
        if (topic !== undefined) throw unended(topic.line);
        topic = { line, text: "" };
      } else if (topic !== undefined && /^<\/top>$/iu.test(piece)) {
        const query = parseTopic(topic.text, file, topic.line);
        if (seen.has(query.id))
          throw invalid(file, topic.line, "num", `"${query.id}" is there twice`);
        seen.add(query.id);
        queries.push(query);
        topic = undefined;
      } else if (topic !== undefined) topic.text += piece;
    }
    if (topic !== undefined) topic.text += "\n";
  }
  if (topic !== undefined) throw unended(topic.line);
  if (queries.length === 0) throw invalid(file, 1, "top", "there is no <top> in it");
  return queries;
}

/** Not any `<`, for a title may be "price < 5": a field that TREC has, or whatever looks like a tag and begins a line. */
const NEXT_TAG = String.raw`</?(?:num|title|desc|narr|head|dom|smry|con|fac|nat|time|def)>|\n\s*</?[a-z][\w-]*>`;

function parseTopic(text: string, file: string, line: number): CollectionQuery {
  const field = (tag: string): string =>
    (new RegExp(`<${tag}>([^]*?)(?:${NEXT_TAG}|$)`, "iu").exec(text)?.[1] ?? "")
      .replaceAll(/\s+/gu, " ")
      .trim();
  const id = field("num").replace(/^Number:\s*/iu, "");
  const title = field("title").replace(/^Topic:\s*/iu, "");
  if (id === "") throw invalid(file, line, "num", "the topic has no <num>");
  if (title === "") throw invalid(file, line, "title", `the topic ${id} has no <title>`);
  return { id, text: title };
}

function invalid(file: string, line: number, field: string, problem: string): CollectionError {
  return new CollectionError(problem, { code: "file_invalid", file, line, field });
}
