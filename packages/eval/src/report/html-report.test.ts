import { expect, test } from "vitest";
import { evaluateRun, type Run } from "../metrics/evaluate-run.ts";
import { parseMeasure } from "../metrics/measures.ts";
import { compareRuns } from "../statistics/compare-runs.ts";
import { htmlReport, type ReportData } from "./html-report.ts";

const DOCUMENTS = Array.from({ length: 12 }, (_, i) => `d${i + 1}`);

/** The order of the documents; the first has the highest score. */
const ranking = (...ids: string[]): { id: string; score: number }[] =>
  ids.map((id, i) => ({ id, score: 100 - i }));

/** The first stage's order with one document put elsewhere. */
const withMoved = (id: string, rank: number): string[] =>
  DOCUMENTS.filter((other) => other !== id).toSpliced(rank - 1, 0, id);

/** Three queries: the relevant document climbs from 9 to 7 in two of them, and falls from 6 to 8 in one. */
const judgments = new Map([
  ["up", new Map([["d9", 2]])],
  ["up too", new Map([["d9", 1]])],
  [
    "down",
    new Map([
      ["d6", 3],
      ["d1", 0],
    ]),
  ],
]);
const firstStage: Run = new Map([...judgments.keys()].map((id) => [id, ranking(...DOCUMENTS)]));
const reranked: Run = new Map([
  ["up", ranking(...withMoved("d9", 7))],
  ["up too", ranking(...withMoved("d9", 7))],
  ["down", ranking(...withMoved("d6", 8))],
]);

function report(measure: string, scoredDepth = 12): ReportData {
  const [before, after] = [firstStage, reranked].map((run) =>
    evaluateRun(run, judgments, [parseMeasure(measure)]).get(measure)!,
  );
  return {
    title: "test",
    settings: {},
    rows: [
      {
        measure,
        firstStage: before!,
        reranked: after!,
        comparison: compareRuns(before!, after!),
      },
    ],
    advice: undefined,
    queries: [...judgments.keys()].map((id) => ({ id, text: `asks ${id}` })),
    documents: new Map(
      DOCUMENTS.map((id) => [id, { id, title: `Title of ${id}`, text: `Text of ${id} <&>` }]),
    ),
    judgments,
    firstStage,
    reranked,
    candidates: new Map(
      [...firstStage].map(([query, list]) => [
        query,
        list.map(({ id, score }, i) => ({
          id,
          firstStage: score,
          score: i < scoredDepth ? score : undefined,
        })),
      ]),
    ),
  };
}

/** The table of a query, as rows of cells, without tags. */
function tableOf(html: string, query: string): string[][] {
  const [, rest = ""] = html.split(`<summary><bdi>asks ${query}</bdi> `);
  const [, body = ""] = /<tbody>([^]*?)<\/tbody>/u.exec(rest) ?? [];
  return body
    .split("</tr>")
    .slice(0, -1)
    .map((row) => row.split("</td>").map((cell) => cell.replaceAll(/<[^>]+>/gu, "").trim()));
}

test("a query shows all ranks that its measure looks at, and where each document came from", () => {
  const rows = tableOf(htmlReport(report("ndcg@10")), "up");
  expect(rows.map(([rank]) => rank)).toEqual(Array.from({ length: 10 }, (_, i) => String(i + 1)));
  expect(rows[6]![1]).toMatch(/^– Title of d7 score 94\.00 · moved to 8/u);
  expect(rows[6]![2]).toMatch(/^2 Title of d9 score 94\.000 · moved from 9/u);
  expect(rows[0]![2]).toContain("stays");
});

test.each([
  ["ndcg@7", 7],
  ["map", 10],
  ["recall@100", 12],
])("of %s %i ranks are shown, of twelve documents", (measure, ranks) => {
  // With the values of another measure: recall@100 changes in no query here, and what does not change is not shown.
  const data = report("ndcg@10");
  const html = htmlReport({ ...data, rows: [{ ...data.rows[0]!, measure }] });
  expect(tableOf(html, "up")).toHaveLength(ranks);
});

test("a score is the reranker's, or is said not to be there", () => {
  const rows = tableOf(htmlReport(report("ndcg@10", 9)), "up");
  expect(rows[8]![2]).toContain("score 92.000");
  expect(rows[9]![2]).toContain("not scored");
});

test("a text is collapsed and escaped", () => {
  const html = htmlReport(report("ndcg@10"));
  expect(html).toContain("Text of d9 &#60;&#38;&#62;</bdi></details>");
  expect(html).not.toContain("<&>");
});

test("no text turns round or tears what stands beside it", () => {
  const data = report("ndcg@10");
  const title = `${"a".repeat(79)}\u{1F600} \u202E`;
  const documents = new Map([...data.documents].map(([id, own]) => [id, { ...own, title }]));
  const html = htmlReport({ ...data, documents });
  expect(html.isWellFormed()).toBe(true);
  expect(html).toContain(`<bdi>${"a".repeat(79)}…</bdi> <small>score`);
});

test("an unjudged document is not one that was judged irrelevant", () => {
  const rows = tableOf(htmlReport(report("ndcg@10")), "down");
  expect(rows[0]![1]).toMatch(/^0 Title of d1/u);
  expect(rows[1]![1]).toMatch(/^– Title of d2/u);
  expect(rows[5]![1]).toMatch(/^3 Title of d6/u);
});

test("wins are with the wins and losses with the losses", () => {
  const html = htmlReport(report("ndcg@10"));
  expect(html).toContain("<td>2 / 1 / 0</td>");
  const [won, lost] = html.split("Queries that won most")[1]!.split("Queries that lost most");
  const queries = (part: string): string[] =>
    [...part.matchAll(/<summary><bdi>asks ([\w ]+)<\/bdi> <small>/gu)].map(([, id]) => id!);
  expect(queries(won!)).toEqual(["up", "up too"]);
  expect(queries(lost!)).toEqual(["down"]);
});
