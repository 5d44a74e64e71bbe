import { spawn } from "node:child_process";
import { once } from "node:events";
import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { readRun } from "@rankfleet/eval";
import { afterAll, beforeAll, expect, test } from "vitest";
import { cli, TestFleet } from "./support/fleet.ts";

const corpus = fileURLToPath(new URL("../../apps/cli/demo-corpus", import.meta.url));
const tiny = fileURLToPath(new URL("../fixtures/tiny-xlm-r", import.meta.url));
let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "eval-test-"));
});
afterAll(() => rmSync(folder, { recursive: true }));

async function run(args: string[]): Promise<{ code: number; stdout: string; stderr: string }> {
  const child = spawn(process.execPath, [cli, ...args], { stdio: ["ignore", "pipe", "pipe"] });
  let [stdout, stderr] = ["", ""];
  child.stdout.on("data", (chunk: Buffer) => (stdout += chunk.toString()));
  child.stderr.on("data", (chunk: Buffer) => (stderr += chunk.toString()));
  const [code] = (await once(child, "close")) as [number];
  return { code, stdout, stderr };
}

interface Figures {
  readonly queries: number;
  readonly firstStage: Record<string, number>;
  readonly reranked: Record<string, number>;
  readonly rerankedAlone?: Record<string, number>;
  readonly advice: { points: { depth: number; value: number; pairs: number }[]; best: number };
  readonly cascade?: { keep: number };
  readonly against?: { comparison: Record<string, object> } & Record<string, unknown>;
}

async function evaluate(...args: string[]): Promise<Figures> {
  const { code, stdout, stderr } = await run(["eval", corpus, "--json", "-", ...args]);
  if (code !== 0) throw new Error(stderr);
  return JSON.parse(stdout) as Figures;
}

test("a folder gives figures, a report that stands alone, a plot, and runs to evaluate elsewhere", async () => {
  const file = (name: string): string => join(folder, name);
  const figures = await evaluate(
    "--report",
    file("report.html"),
    "--plot",
    file("depth.svg"),
    "--run-out",
    file("reranked.trec"),
    "--first-stage-out",
    file("bm25.trec"),
  );
  expect(figures.queries).toBe(54);
  expect(figures.firstStage["ndcg@10"]).toBeGreaterThan(0.5);
  expect(figures.firstStage["recall@100"]).toBeGreaterThan(0.9);
  expect(figures.reranked["ndcg@10"]).toBeGreaterThan(figures.firstStage["ndcg@10"]!);
  expect(figures.rerankedAlone!["ndcg@10"]).toBeGreaterThan(figures.firstStage["ndcg@10"]!);
  const { points } = figures.advice;
  expect(points.map(({ depth }) => depth)).toEqual([5, 10, 20, 30, 50]);
  expect(points.at(-1)!.value).toBeCloseTo(figures.reranked["ndcg@10"]!, 9);
  // One pass gave every depth, also where the first stage's scores are fused in by their spread.
  const shallow = await evaluate("--depth", "20");
  expect(points[2]!.value).toBeCloseTo(shallow.reranked["ndcg@10"]!, 9);
  const html = readFileSync(file("report.html"), "utf8");
  expect(html).toContain("<svg");
  expect(html).toContain("Queries that lost most");
  expect(html).not.toMatch(/(?:src|href)=/u);
  expect(readFileSync(file("depth.svg"), "utf8")).toContain("polyline");

  // What was written is what was measured: the run as a first stage has the reranked run's figures.
  const again = await evaluate("--first-stage", `run:${file("reranked.trec")}`, "--depth", "1");
  expect(again.firstStage["ndcg@10"]).toBeCloseTo(figures.reranked["ndcg@10"]!, 9);
  expect((await readRun(file("bm25.trec"))).size).toBe(54);

  // Against another run: its own is no different.
  const { against } = await evaluate("--against", file("reranked.trec"));
  expect(against!["ndcg@10"]).toBeCloseTo(figures.reranked["ndcg@10"]!, 9);
  expect(against!.comparison["ndcg@10"]).toMatchObject({ wins: 0, losses: 0, ties: 54 });
});

test("dense and hybrid first stages take any embedding folder; a cascade is advised from data", async () => {
  const few = ["--max-queries", "8", "--depth", "10"];
  const dense = await evaluate("--first-stage", "dense", "--embedding", tiny, ...few);
  const hybrid = await evaluate(
    "--first-stage",
    "hybrid",
    "--embedding",
    tiny,
    "--cascade",
    tiny,
    ...few,
  );
  expect(dense.queries).toBe(8);
  // Random weights: fused with BM25 they are better than alone.
  expect(hybrid.firstStage["recall@100"]).toBeGreaterThan(dense.firstStage["recall@100"]!);
  expect(hybrid.cascade!.keep).toBeGreaterThanOrEqual(5);
});

test("through a fleet the figures are those of this process", async () => {
  const fleet = await TestFleet.start();
  try {
    await fleet.worker();
    const few = ["--max-queries", "20"];
    const there = await evaluate("--redis", fleet.url, ...few);
    const here = await evaluate(...few);
    for (const [measure, value] of Object.entries(here.reranked))
      expect(there.reranked[measure]).toBeCloseTo(value, 3);
    for (const [i, { value }] of here.advice.points.entries())
      expect(there.advice.points[i]!.value).toBeCloseTo(value, 3);
    const { code, stdout } = await run(["eval", corpus, "--redis", fleet.url, ...few]);
    expect(code).toBe(0);
    expect(stdout).toContain("All pairs came from the fleet's score cache");
  } finally {
    await fleet.stop();
  }
});

test.each([
  [["eval", corpus, "--measures", "accuracy"], 2, "ndcg@k"],
  [["eval", corpus, "--first-stage", "google"], 2, "must be bm25"],
  [["eval", corpus, "--first-stage", "dense"], 1, "--embedding"],
  [["eval", "/nowhere"], 1, "/nowhere/corpus.jsonl"],
  [["eval", corpus, "--report", "/nowhere/report.html"], 1, "no folder /nowhere"],
  [["eval", corpus, "--cascade", "/nowhere"], 1, "no model folder at /nowhere"],
  [["judge", corpus, "--output", "x"], 2, "--endpoint"],
])("%j is refused with exit %i", async (args, code, words) => {
  const ended = await run(args);
  expect(ended.code).toBe(code);
  expect(ended.stderr).toContain(words);
});

test("judge labels pairs, compares them with people's labels, and pays for none twice", async () => {
  // A fake endpoint, which says that a passage is relevant if it shares a long word with the query.
  let asked = 0;
  const server = createServer((request, response) => {
    let body = "";
    request.on("data", (chunk: Buffer) => (body += chunk.toString()));
    request.on("end", () => {
      asked++;
      const { messages } = JSON.parse(body) as { messages: { content: string }[] };
      const [, query = "", passage = ""] = /QUERY\n(.*)\nQUERY[^]*PASSAGE\n([^]*)\nPASSAGE/u.exec(
        messages[1]!.content,
      )!;
      const shares = query
        .split(/\W+/u)
        .filter((word) => word.length > 4 && passage.toLowerCase().includes(word.toLowerCase()));
      response.end(
        JSON.stringify({
          choices: [{ message: { content: `grade: ${Math.min(3, shares.length)}` } }],
        }),
      );
    });
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  try {
    const { port } = server.address() as AddressInfo;
    const output = join(folder, "llm.qrels");
    const args = [
      "judge",
      corpus,
      "--endpoint",
      `http://127.0.0.1:${port}/v1`,
      "--llm",
      "fake",
      "--output",
      output,
      "--json",
    ];
    const first = JSON.parse((await run(args)).stdout) as {
      pairs: number;
      agreement: { pairs: number; kappa: number };
    };
    expect(first.agreement.pairs).toBe(first.pairs);
    expect(first.agreement.kappa).toBeLessThan(1);
    expect(asked).toBe(first.pairs);
    expect(JSON.parse((await run(args)).stdout)).toMatchObject({ cached: first.pairs });
    expect(asked).toBe(first.pairs);
    const labelled = await evaluate("--qrels", output, "--max-queries", "5");
    expect(labelled.queries).toBeGreaterThan(0);
    // What a judge is for: texts that nobody has judged.
    const unjudged = join(folder, "unjudged");
    mkdirSync(unjudged);
    for (const file of ["corpus.jsonl", "queries.jsonl"]) {
      copyFileSync(join(corpus, file), join(unjudged, file));
    }
    const firstId = (name: string): string => {
      const [line = ""] = readFileSync(join(corpus, name), "utf8").split("\n");
      return (JSON.parse(line) as { id: string }).id;
    };
    const mine = join(folder, "mine.trec");
    writeFileSync(mine, `${firstId("queries.jsonl")} Q0 ${firstId("corpus.jsonl")} 1 1.5 mine\n`);
    const how = [...args.slice(2, 6), "--run", mine, "--output", join(folder, "fresh.qrels")];
    const fresh = await run(["judge", unjudged, ...how]);
    expect([fresh.code, fresh.stdout]).toEqual([
      0,
      expect.stringContaining("none of these pairs has a human label") as string,
    ]);
  } finally {
    server.close();
  }
});
