import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { startCommand } from "./support/command.ts";
import { cli, TestFleet } from "./support/fleet.ts";

let folder: string;
let small: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "eval-figures-test-"));
  small = writeCollection("small", 30);
});
afterAll(() => rmSync(folder, { recursive: true }));

/** Notes that differ by a number, and three judged queries, of which two have a relevant note. */
function writeCollection(name: string, notes: number): string {
  const path = join(folder, name);
  mkdirSync(path);
  const write = (file: string, rows: readonly object[]): void =>
    writeFileSync(join(path, file), rows.map((row) => JSON.stringify(row)).join("\n"));
  const numbers = Array.from({ length: notes }, (_, i) => i);
  write(
    "corpus.jsonl",
    numbers.map((i) => ({ id: `d${i}`, text: `note ${i}` })),
  );
  write(
    "queries.jsonl",
    [3, 5, 7].map((i) => ({ id: `q${i}`, text: `note ${i}` })),
  );
  writeFileSync(join(path, "qrels.tsv"), "q3\td3\t1\nq5\td5\t2\nq7\td7\t0\n");
  return path;
}

interface Figures {
  readonly queries: number;
  readonly depth: number;
  readonly pairs: number;
  readonly failed: number;
  readonly firstStage: Record<string, number>;
  readonly reranked: Record<string, number>;
  readonly advice: {
    readonly points: readonly { readonly depth: number; readonly value: number }[];
  };
  readonly warnAboveDocuments?: number;
}

async function evaluate(...args: string[]): Promise<{ stdout: string; stderr: string }> {
  const ended = await startCommand(["eval", "--threads", "1", ...args], {}).ended;
  if (ended.code !== 0) throw new Error(ended.stderr);
  return ended;
}

async function figures(...args: string[]): Promise<Figures & { stderr: string }> {
  const { stdout, stderr } = await evaluate(...args, "--json", "-");
  return { ...(JSON.parse(stdout) as Figures), stderr };
}

test("whatever measures are asked for, the JSON has nDCG@10 and recall@100 too", async () => {
  const { firstStage, reranked } = await figures(small, "--measures", "map");
  for (const means of [firstStage, reranked]) {
    expect(Object.keys(means)).toEqual(["map", "ndcg@10", "recall@100"]);
    for (const mean of Object.values(means)) expect(mean).toBeGreaterThan(0);
  }
  const { stdout } = await evaluate(small, "--measures", "map");
  const table = stdout.split("\n\n")[0]!.split("\n");
  expect(table.map((line) => line.split(" ")[0])).toEqual(["measure", "map"]);
});

test("a depth beyond what the first stage found is said not to be, and the JSON has the real one", async () => {
  const deeper = await figures(small, "--depth", "2000");
  expect(deeper).toMatchObject({ depth: 30, pairs: 90 });
  expect(deeper.stderr).toContain(
    "--depth is 30, not 2,000: the first stage has no more candidates",
  );
  const shallower = await figures(small, "--depth", "30");
  expect(shallower.stderr).not.toContain("--depth");
});

test("more candidates than a request may have are cut alike in this process and through a fleet", async () => {
  const notes = 10_500;
  const many = writeCollection("many", notes);
  const file = join(folder, "many.trec");
  const rank = (i: number): string => `q3 Q0 d${i} ${i + 1} ${notes - i} mine`;
  writeFileSync(file, Array.from({ length: notes }, (_, i) => rank(i)).join("\n"));
  const asked = [many, "--first-stage", `run:${file}`, "--depth", "20000"];
  const fleet = await TestFleet.start();
  try {
    await fleet.worker();
    const there = await figures(...asked, "--redis", fleet.url);
    const here = await figures(...asked);
    for (const { stderr, ...measured } of [there, here]) {
      expect(measured).toMatchObject({ depth: 10_000, pairs: 10_000, failed: 0 });
      expect(stderr).toContain("--depth is 10,000, not 20,000: a request takes no more documents");
    }
    expect(there.reranked["ndcg@10"]).toBeCloseTo(here.reranked["ndcg@10"]!, 3);
  } finally {
    await fleet.stop();
  }
});

test("what is said to be compared is what the figures are of", async () => {
  const { queries, stderr } = await figures(small);
  expect(queries).toBe(2);
  expect(stderr).toContain("3 judged queries");
  expect(stderr).toContain("comparing the runs on 2 queries with a relevant document");
});

test("where reranking does not help, no depth is recommended to the SDK's guard", async () => {
  const runOf = (name: string, scoreOfRelevant: number): string => {
    const lines = [3, 5].flatMap((relevant) =>
      Array.from({ length: 30 }, (_, i) => {
        const score = i === relevant ? scoreOfRelevant : 1;
        return `q${relevant} Q0 d${i} 1 ${score} mine`;
      }),
    );
    writeFileSync(join(folder, name), lines.join("\n"));
    return `run:${join(folder, name)}`;
  };
  const perfect = runOf("perfect.trec", 2);
  const { stdout } = await evaluate(small, "--first-stage", perfect);
  expect(stdout).toContain("Reranking does not help here");
  expect(stdout).not.toContain("warnAboveDocuments");
  expect(await figures(small, "--first-stage", perfect)).not.toHaveProperty("warnAboveDocuments");

  const tied = runOf("tied.trec", 1);
  const helped = await evaluate(small, "--first-stage", tied);
  expect(helped.stdout).toMatch(/Best depth[^]+Guard for the SDK: .*warnAboveDocuments: \d+/u);
  expect(await figures(small, "--first-stage", tied)).toHaveProperty("warnAboveDocuments");
});

test("the deepest depth is the reranking itself, also where no query's first candidate can be scored", async () => {
  const path = writeCollection("unscored", 0);
  const texts = ["", "coffee in a french press", "tea", "how much coffee for one litre", "cups"];
  writeFileSync(
    join(path, "corpus.jsonl"),
    texts.map((text, i) => JSON.stringify({ id: `d${i}`, text })).join("\n"),
  );
  writeFileSync(
    join(path, "queries.jsonl"),
    ["how much coffee", "french press"]
      .map((text, i) => JSON.stringify({ id: `q${i}`, text }))
      .join("\n"),
  );
  writeFileSync(join(path, "qrels.tsv"), "q0\td3\t2\nq0\td1\t1\nq1\td4\t1\nq1\td1\t2\n");
  const run = join(path, "run.trec");
  const ranked = texts.map(
    (_, i) => `q0 Q0 d${i} ${i} ${-30 * i} t\nq1 Q0 d${i} ${i} ${-30 * i} t\n`,
  );
  writeFileSync(run, ranked.join(""));
  const { reranked, advice, failed } = await figures(path, "--first-stage", `run:${run}`);
  expect(failed).toBe(2);
  expect(advice.points.at(-1)!.value).toBeCloseTo(reranked["ndcg@10"]!, 12);
});

test("an output that has no room costs neither the others nor the figures", async () => {
  const report = join(folder, "room.html");
  const { code, stdout, stderr } = await startCommand(
    ["eval", small, "--threads", "1", "--json", "/dev/full", "--report", report],
    {},
  ).ended;
  expect([code, stderr]).toEqual([
    1,
    expect.stringContaining('--json "/dev/full" could not be written: ENOSPC') as string,
  ]);
  expect(stdout).toContain("ndcg@10");
  expect(readFileSync(report, "utf8")).toContain("</html>");
});

test("a model that no worker serves is told with what a command can do about it", async () => {
  const fleet = await TestFleet.start();
  try {
    const args = ["eval", small, "--redis", fleet.url, "--model", "nowhere"];
    const child = spawn(process.execPath, [cli, ...args], { stdio: ["ignore", "ignore", "pipe"] });
    let stderr = "";
    child.stderr.on("data", (chunk: Buffer) => (stderr += chunk.toString()));
    await expect.poll(() => stderr).toContain("waiting: ");
    child.kill();
    await once(child, "close");
    expect(stderr).toContain('no worker serves "nowhere"');
    expect(stderr).toContain("or name one that is served");
    expect(stderr).not.toContain("modelWaitMs");
  } finally {
    await fleet.stop();
  }
});
