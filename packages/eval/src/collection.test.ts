import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { CollectionError } from "./collection-error.ts";
import { readCollection } from "./collection.ts";

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "rankfleet-collection-"));
});
afterEach(() => rm(folder, { recursive: true }));

const GOOD = {
  "corpus.jsonl":
    '{"_id":"d1","title":"One","text":"first","metadata":{}}\n{"id":"d2","text":""}\n',
  "queries.jsonl": '{"_id":"q1","text":"what?"}\n{"id":"q2","text":"why?"}\n',
  "qrels.tsv": "q1\td1\t2\nq1\td2\t0\nq2\td2\t1\n",
};

async function readWith(files: Record<string, string>) {
  for (const [name, content] of Object.entries(files)) {
    await mkdir(dirname(join(folder, name)), { recursive: true });
    await writeFile(join(folder, name), content);
  }
  return readCollection(folder);
}

const JUDGMENTS = new Map([
  [
    "q1",
    new Map([
      ["d1", 2],
      ["d2", 0],
    ]),
  ],
  ["q2", new Map([["d2", 1]])],
]);

test("a folder becomes documents, queries and judgments", async () => {
  expect(await readWith(GOOD)).toEqual({
    documents: [
      { id: "d1", title: "One", text: "first" },
      { id: "d2", text: "" },
    ],
    queries: [
      { id: "q1", text: "what?" },
      { id: "q2", text: "why?" },
    ],
    judgments: JUDGMENTS,
  });
});

describe("judgments", () => {
  test.each([
    ["BEIR's header", `query-id\tcorpus-id\tscore\n${GOOD["qrels.tsv"]}`],
    ["TREC's four columns", "q1 0 d1 2\nq1 0 d2 0\r\nq2 Q0 d2 1"],
    ["grades that a data frame has made fractions", "q1\td1\t2.0\nq1\td2\t0.00\nq2\td2\t1.0\n"],
    ["a byte order mark and blank lines", `\uFEFF${GOOD["qrels.tsv"]}\n\n`],
  ])("with %s", async (_case, qrels) => {
    expect((await readWith({ ...GOOD, "qrels.tsv": qrels })).judgments).toEqual(JUDGMENTS);
  });

  test("from qrels/test.tsv", async () => {
    const { "qrels.tsv": qrels, ...rest } = GOOD;
    expect((await readWith({ ...rest, "qrels/test.tsv": qrels })).judgments).toEqual(JUDGMENTS);
  });
});

test("U+2028 inside a string does not end the line, and numbers may be ids", async () => {
  const corpus = '\uFEFF{"id":1,"text":"a\u2028b"}\r\n{"id":2,"title":null,"text":"c"}';
  const { documents } = await readWith({ ...GOOD, "corpus.jsonl": corpus });
  expect(documents).toEqual([
    { id: "1", text: "a\u2028b" },
    { id: "2", text: "c" },
  ]);
});

test("blanks at the ends of an id are not part of it, in whatever file it stands", async () => {
  const corpus = '{"id":" d1","text":"a"}\n{"id":"d2 ","text":"b"}';
  const { documents, judgments } = await readWith({ ...GOOD, "corpus.jsonl": corpus });
  for (const { id } of documents) expect(judgments.get("q1")?.has(id)).toBe(true);
});

test("a title is enough of a document, its text missing, null or empty", async () => {
  const corpus = ['{"id":"1","title":"A"}', '{"id":"2","title":"B","text":null}'];
  corpus.push('{"id":"3","title":"C","text":""}');
  const { documents } = await readWith({ ...GOOD, "corpus.jsonl": corpus.join("\n") });
  expect(documents).toEqual([
    { id: "1", title: "A", text: "" },
    { id: "2", title: "B", text: "" },
    { id: "3", title: "C", text: "" },
  ]);
});

test("a line longer than a read chunk stays whole", async () => {
  const text = "é".repeat(300_000);
  const { documents } = await readWith({
    ...GOOD,
    "corpus.jsonl": JSON.stringify({ id: "d", text }),
  });
  expect(documents[0]?.text).toBe(text);
});

describe("problems name file, line and field", () => {
  const good = '{"id":"x","text":"x"}\n';
  test.each([
    ["corpus.jsonl", `${good}{"id":`, 2, undefined, "is not JSON"],
    ["corpus.jsonl", `${good}\n[1]`, 3, undefined, "expected a JSON object"],
    ["corpus.jsonl", '{"text":"x"}', 1, "id", '"id" must be a non-empty string'],
    ["corpus.jsonl", '{"_id":"","text":"x"}', 1, "_id", '"_id" must be a non-empty string'],
    ["corpus.jsonl", '{"id":"  ","text":"x"}', 1, "id", '"id" must be a non-empty string'],
    ["corpus.jsonl", '{"id":"a\\tb","text":"x"}', 1, "id", "a tab or a line break in it"],
    ["queries.jsonl", '{"id":"a\\nb","text":"x"}', 1, "id", "a tab or a line break in it"],
    ["corpus.jsonl", good + good, 2, "id", 'the id "x" is there already'],
    ["corpus.jsonl", '{"id":"x"}', 1, "text", 'there is neither a "text" nor a "title"'],
    ["corpus.jsonl", '{"id":"x","title":" "}', 1, "text", 'give it a "text"'],
    ["corpus.jsonl", '{"id":"x","title":"x","text":5}', 1, "text", '"text" must be a string'],
    ["corpus.jsonl", '{"id":"x","title":5,"text":""}', 1, "title", '"title" must be a string'],
    ["queries.jsonl", '{"id":"x","text":" "}', 1, "text", '"text" is empty'],
    ["qrels.tsv", "q1\td1", 1, "columns", "expected 3 or 4 columns, found 2"],
    ["qrels.tsv", "q1\td1\t1\nq1\td2\tgood", 2, "grade", 'whole number as grade, found "good"'],
    ["qrels.tsv", "q1\td1\t1.5", 1, "grade", 'found "1.5": write the grades as 0, 1, 2'],
    ["qrels.tsv", "q1\td1\t1.", 1, "grade", 'whole number as grade, found "1."'],
    ["qrels.tsv", "q1\t\t1", 1, "document", "the document id is empty"],
    ["qrels.tsv", "q1\td1\t1\nq1\td1\t1", 2, "document", '"d1" already has a grade for "q1"'],
    ["qrels.tsv", "q9\td1\t1", undefined, undefined, 'its first is "q9", theirs "q1"'],
    ["qrels.tsv", "", undefined, undefined, "its first is not there"],
  ])("%s: %j", async (name, content, line, field, problem) => {
    const error: unknown = await readWith({ ...GOOD, [name]: content }).catch((e: unknown) => e);
    const file = join(folder, name);
    expect(error).toBeInstanceOf(CollectionError);
    expect(error).toMatchObject({
      code: "file_invalid",
      file,
      ...(line !== undefined && { line }),
      ...(field !== undefined && { field }),
      message: expect.stringContaining(line === undefined ? problem : `${file}:${line}: `),
    });
    expect((error as Error).message).toContain(problem);
  });

  test("a missing file", async () => {
    await expect(readCollection(folder)).rejects.toMatchObject({
      code: "file_missing",
      file: join(folder, "corpus.jsonl"),
      cause: { code: "ENOENT" },
    });
  });
});
