import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { formatQrels, readQrels } from "../qrels.ts";
import { formatRun, readRun } from "./run-file.ts";
import { readTopics } from "./topics.ts";

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "trec-test-"));
});
afterAll(() => rmSync(folder, { recursive: true }));

function file(text: string): string {
  const path = join(folder, "file");
  writeFileSync(path, text);
  return path;
}

test("a run survives being written and read, ranked as trec_eval ranks its ties", async () => {
  const run = new Map([
    [
      "q1",
      [
        { id: "a", score: 1 },
        { id: "b", score: 1 },
        { id: "c", score: 2.5 },
      ],
    ],
    ["q2", [{ id: "a", score: -3e-7 }]],
  ]);
  const text = [...formatRun(run, "mine")].join("");
  expect(text.split("\n").slice(0, 3)).toEqual([
    "q1 Q0 c 1 2.5 mine",
    "q1 Q0 b 2 1 mine",
    "q1 Q0 a 3 1 mine",
  ]);
  // Lines may stand in any order, e.g. where runs of several shards were put together.
  const lines = text.trim().replaceAll(" ", "\t").split("\n").toReversed().join("\n");
  const read = await readRun(file(`# a comment\n${lines}`));
  expect(read.get("q2")).toEqual(run.get("q2"));
  expect(read.get("q1")!.map(({ id }) => id)).toEqual(["c", "b", "a"]);
});

test.each([
  ["q1 Q0 a 1 2", "columns"],
  ["q1 Q0 a 1 high tag", "score"],
  ["q1 Q0 doc 25 1 14.2 tag", "columns"],
  ["q1 Q0 a 1 2 t\nq1 Q0 a 2 1 t", "document"],
  ["q1\tQ0\ta\t1\t\tt", "score"],
  ["q1\tQ0\t\t1\t2\tt", "document"],
  ["\tQ0\ta\t1\t2\tt", "query"],
])("a run with %j is refused for its %s", async (text, field) => {
  await expect(readRun(file(text))).rejects.toMatchObject({ code: "file_invalid", field });
});

test.each([readRun, readQrels, readTopics])(
  "%o says of a gzipped file what to do",
  async (read) => {
    const path = join(folder, "file.gz");
    writeFileSync(path, gzipSync("q1 Q0 a 1 2 t\n".repeat(10)));
    await expect(read(path)).rejects.toMatchObject({
      code: "file_invalid",
      message: expect.stringContaining("unpack it first") as string,
    });
  },
);

test("ids with blanks in them survive too, between tabs; a tag may have several words", async () => {
  const run = new Map([["q 1", [{ id: "doc 25", score: 2 }]]]);
  expect(await readRun(file([...formatRun(run, "mine")].join("")))).toEqual(run);
  const hashes = new Map([["#1", [{ id: "#a", score: 2 }]]]);
  const comment = "#1 is a comment of words enough\n";
  expect(await readRun(file(comment + [...formatRun(hashes, "mine")].join("")))).toEqual(hashes);
  expect((await readRun(file("q1 Q0 a 1 2 my run"))).get("q1")).toEqual([{ id: "a", score: 2 }]);
});

test("judgments survive being written and read", async () => {
  const judgments = new Map([
    [
      "q1",
      new Map([
        ["a", 2],
        ["b", 0],
        ["doc 25", 1],
      ]),
    ],
  ]);
  expect(await readQrels(file([...formatQrels(judgments)].join("")))).toEqual(judgments);
});

test("judgments may mix tabs and blanks, and begin with a blank line and a header", async () => {
  const text = "\nquery-id\tcorpus-id\tscore\nq1 0\ta 1\nq1\tb\t2\n";
  expect(await readQrels(file(text))).toEqual(
    new Map([
      [
        "q1",
        new Map([
          ["a", 1],
          ["b", 2],
        ]),
      ],
    ]),
  );
  await expect(readQrels(file(`q1 0 a ${"9".repeat(400)}`))).rejects.toMatchObject({
    field: "grade",
  });
});

describe("topics", () => {
  test("of the nineties, with prefixes and without closing tags; and of today", async () => {
    const text = `<top>
<num> Number: 301
<title> Topic: International
Organized Crime
<desc> Description:
Identify organizations.
</top>
<top><num>302</num>
<title>poliomyelitis</title>
</top>`;
    const topics = await readTopics(file(text));
    expect(topics).toEqual([
      { id: "301", text: "International Organized Crime" },
      { id: "302", text: "poliomyelitis" },
    ]);
  });

  test("a whole topic may stand on one line", async () => {
    const topics = await readTopics(
      file("<top> <num> Number: 3 <title> x y </top><top><num>4<title>z</top>"),
    );
    expect(topics).toEqual([
      { id: "3", text: "x y" },
      { id: "4", text: "z" },
    ]);
  });

  test.each([
    [
      '<topics task="x">\n<topic number="1">\n<query>two words</query>\n<question>q</question>',
      "two words",
    ],
    [
      "<track><topic type='single' number='1'><title>AT&amp;T\n &lt;5</title> <query>no</query>",
      "AT&T <5",
    ],
    ['<topic number="1">\nA patient\nof 45.\n', "A patient of 45."],
    [
      '<topic number="1"><query>x <b>y</b></query> <subtopic number="2" type="nav">z</subtopic>',
      "x <b>y</b>",
    ],
  ])("of later tracks, in XML: %j", async (topic, text) => {
    expect(await readTopics(file(`<?xml version="1.0"?>\n${topic}</topic>\n`))).toEqual([
      { id: "1", text },
    ]);
  });

  test("a tag may have attributes", async () => {
    const text =
      '<top lang="en">\n<num>1</num>\n<title lang="en">x y</title>\n<desc lang="en">d\n</top>';
    expect(await readTopics(file(text))).toEqual([{ id: "1", text: "x y" }]);
  });

  test.each([
    ["<num> 1\n<title> price < 5 coffee press\n<desc> d", "price < 5 coffee press"],
    ["<num> 1\n<title>a <b> c</title>\n<desc> d", "a <b> c"],
    ["<num> 1\n<title> x<y <desc> d <narr> n", "x<y"],
    ["<title> x <num> 1", "x"],
    // A field of one track or another, which no list knows, begins a line.
    ["<num> 1\n<title> x y\n<genre> fiction", "x y"],
    ["<num> 1\n<title> x\ny </TITLE> z", "x y"],
    ["<num> 1\n<title> x < 5", "x < 5"],
  ])("%j: the title ends at the next tag, not at any <", async (topic, text) => {
    expect(await readTopics(file(`<top>\n${topic}\n</top>`))).toEqual([{ id: "1", text }]);
  });

  test.each([
    ["<top>\n<title> x\n</top>", "num"],
    ["<top>\n<num> 1\n</top>", "title"],
    ["<top>\n<num> 1\n<title>\n<desc> d\n</top>", "title"],
    ["<top>\n<num> 1\n<title> x\n", "top"],
    ["<top>\n<num> 1\n<title> x\n<top>\n<num> 2\n<title> y\n</top>", "top"],
    ["nothing", "top"],
    ['<topic number="1"><query>x</query>', "top"],
    ["<topic><query>x</query></topic>", "num"],
    ['<topic number="1"><question>x</question></topic>', "title"],
  ])("%j is refused for its %s", async (text, field) => {
    await expect(readTopics(file(text))).rejects.toMatchObject({ code: "file_invalid", field });
  });
});
