import { CollectionError } from "../collection-error.ts";
import type { CollectionQuery } from "../collection.ts";
import { readLines } from "../lines.ts";

/**
 * Reads TREC topics, of two kinds:
 *
 * - `<top> … <num> Number: 301 … <title> words … </top>`, of which the title is the query. The tags' `Number:` and
 *   `Topic:` words are optional, and closing tags are too, as in the tracks of the nineties.
 * - XML, as in later tracks: `<topic number="1">` with a `<title>`, else a `<query>`, else with the words alone.
 *
 * @throws CollectionError at a topic without number or words.
 */
export async function readTopics(file: string): Promise<CollectionQuery[]> {
  const queries: CollectionQuery[] = [];
  const seen = new Set<string>();
  let topic: Topic | undefined;
  const unended = ({ line, tag }: Topic): CollectionError =>
    invalid(file, line, "top", `the topic has no </${tag}>`);
  for await (const { number: line, text } of readLines(file)) {
    // Whatever stands between the tags belongs to the topic, on how many lines they are.
    for (const piece of text.split(TOPIC_TAG)) {
      const [, slash, name = "", attributes = ""] = TAG_PARTS.exec(piece) ?? [];
      const tag = name.toLowerCase();
      if (slash === "" && (topic === undefined || topic.tag === tag)) {
        if (topic !== undefined) throw unended(topic);
        topic = { line, tag, attributes, text: "" };
      } else if (topic !== undefined && slash === "/" && topic.tag === tag) {
        const query = parseTopic(topic, file);
        if (seen.has(query.id))
          throw invalid(file, topic.line, "num", `"${query.id}" is there twice`);
        seen.add(query.id);
        queries.push(query);
        topic = undefined;
      } else if (topic !== undefined) topic.text += piece;
    }
    if (topic !== undefined) topic.text += "\n";
  }
  if (topic !== undefined) throw unended(topic);
  if (queries.length === 0) {
    const problem = `there is no <top> in it, nor a <topic number="…">; other queries go into queries.jsonl`;
    throw invalid(file, 1, "top", problem);
  }
  return queries;
}

interface Topic {
  readonly line: number;
  /** `top` or `topic`. */
  readonly tag: string;
  readonly attributes: string;
  text: string;
}

const TOPIC_TAG = /(<\/?top(?:ic)?(?:\s[^<>]*)?>)/iu;
const TAG_PARTS = /^<(\/?)(top|topic)(\s[^<>]*)?>$/iu;

/** Not any `<`, for a title may be "price < 5": a field that TREC has, or whatever looks like a tag and begins a line. */
const NEXT_TAG = String.raw`</?(?:num|title|desc|narr|head|dom|smry|con|fac|nat|time|def|query|question|description|narrative|subtopic)(?:\s[^<>]*)?>|\n\s*</?[a-z][\w-]*(?:\s[^<>]*)?>`;

function parseTopic({ text, line, attributes }: Topic, file: string): CollectionQuery {
  const field = (tag: string): string =>
    plain(new RegExp(`<${tag}(?:\\s[^<>]*)?>([^]*?)(?:${NEXT_TAG}|$)`, "iu").exec(text)?.[1] ?? "");
  const [, , number = ""] = /\snumber\s*=\s*(["'])(.*?)\1/iu.exec(attributes) ?? [];
  const id = number.trim() || field("num").replace(/^Number:\s*/iu, "");
  const title = field("title").replace(/^Topic:\s*/iu, "") || field("query");
  if (id === "") throw invalid(file, line, "num", "the topic has no <num>");
  const words = title === "" && !/<[a-z]/iu.test(text) ? plain(text) : title;
  if (words === "")
    throw invalid(file, line, "title", `the topic ${id} has no <title> and no <query>`);
  return { id, text: words };
}

/** On one line, and with the characters that XML's own names stand for. */
function plain(text: string): string {
  return text
    .replaceAll(/&(amp|lt|gt|quot|apos);/gu, (_, name: string) => ENTITIES[name]!)
    .replaceAll(/\s+/gu, " ")
    .trim();
}

const ENTITIES: Readonly<Record<string, string>> = {
  amp: "&",
  lt: "<",
  gt: ">",
  quot: '"',
  apos: "'",
};

function invalid(file: string, line: number, field: string, problem: string): CollectionError {
  return new CollectionError(problem, { code: "file_invalid", file, line, field });
}
