import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, expect, test } from "vitest";
import { cli, TestFleet } from "./support/fleet.ts";
import { requests } from "./support/texts.ts";

let folder: string;
let fleet: TestFleet;
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "cli-test-"));
  fleet = await TestFleet.start();
  await fleet.worker();
});
afterAll(async () => {
  await fleet.stop();
  rmSync(folder, { recursive: true });
});

interface Ended {
  readonly code: number | string;
  readonly stdout: string;
  readonly stderr: string;
}

function start(
  args: string[],
  env: Record<string, string> = {},
): {
  pid: number;
  firstWords: Promise<unknown>;
  firstOutput: Promise<unknown>;
  ended: Promise<Ended>;
} {
  const child = spawn(process.execPath, [cli, ...args], {
    env: { ...process.env, REDIS_URL: fleet.url, TMPDIR: folder, ...env },
    stdio: ["ignore", "pipe", "pipe"],
    detached: true,
  });
  let [stdout, stderr] = ["", ""];
  child.stdout.on("data", (chunk: Buffer) => (stdout += chunk.toString()));
  child.stderr.on("data", (chunk: Buffer) => (stderr += chunk.toString()));
  const ended = once(child, "close").then(([code, signal]) => ({
    code: (code ?? signal) as number | string,
    stdout,
    stderr,
  }));
  return {
    pid: child.pid!,
    firstWords: once(child.stderr, "data"),
    firstOutput: once(child.stdout, "data"),
    ended,
  };
}

const run = (args: string[], env: Record<string, string> = {}): Promise<Ended> =>
  start(args, env).ended;

interface OutputLine {
  readonly line: number;
  readonly id: string;
  readonly results: readonly unknown[];
}

function lines(file: string): OutputLine[] {
  return readFileSync(file, "utf8")
    .trim()
    .split("\n")
    .map((text) => JSON.parse(text) as OutputLine);
}

function writeInput(name: string, count: number, documents: number): string {
  const file = join(folder, name);
  const text = requests(count, documents).map((request, i) =>
    JSON.stringify({ id: `r${i}`, ...request }),
  );
  writeFileSync(file, `${text.join("\n")}\n`);
  return file;
}

test.each([
  ["--help"],
  ["worker", "--help"],
  ["run", "--help"],
  ["score", "--help"],
  ["queue", "stats", "--help"],
  ["demo", "--help"],
  ["dev", "--help"],
])("help of %s %s", async (...args) => {
  const { code, stdout } = await run(args);
  expect(code).toBe(0);
  expect(stdout).toContain("Usage: rankfleet");
  if (args.length > 1) expect(stdout).toMatch(/Examples?:/u);
});

test("wrong usage is exit 2 and says what is wrong", async () => {
  expect(await run(["nonsense"])).toMatchObject({
    code: 2,
    stderr: expect.stringContaining("unknown command") as string,
  });
  expect(await run(["run", "in.jsonl"])).toMatchObject({
    code: 2,
    stderr: expect.stringContaining("--output") as string,
  });
});

test("a worker's wrong settings are told all at once, by flag and variable", async () => {
  const { code, stderr } = await run(["worker", "--threads", "none", "--device", "abacus"]);
  expect(code).toBe(2);
  expect(stderr).toContain("--threads");
  expect(stderr).toContain("RANKFLEET_DEVICE");
});

test("Redis that is not there is one line and exit 1", async () => {
  const { code, stderr } = await run(["queue", "stats"], { REDIS_URL: "redis://127.0.0.1:1" });
  expect(code).toBe(1);
  expect(stderr.trim().split("\n")).toHaveLength(1);
  expect(stderr).toContain("cannot reach Redis at 127.0.0.1:1");
});

test("score ranks a few documents without Redis", async () => {
  const { code, stdout } = await run(
    ["score", "--json", "how to boil an egg", "Boil the egg for six minutes.", "Oil the chain."],
    { REDIS_URL: "" },
  );
  expect(code).toBe(0);
  const { results } = JSON.parse(stdout) as { results: { index: number; score: number }[] };
  expect(results.map(({ index }) => index)).toEqual([0, 1]);
});

test("queue stats shows models, workers and jobs", async () => {
  const { stdout } = await run(["queue", "stats", "--json"]);
  expect(JSON.parse(stdout)).toMatchObject({
    models: [{ model: "box", dtype: "fp32", workers: 1, waiting: 0, active: 0 }],
  });
  expect((await run(["queue", "stats"])).stdout).toContain("box");
});

test("run writes a line for each request, and failures to the errors file", async () => {
  const input = writeInput("mixed.jsonl", 20, 5);
  writeFileSync(
    input,
    `${readFileSync(input, "utf8")}\n{"id":"bad","query":"","documents":["a"]}\n{torn\n`,
  );
  const output = join(folder, "mixed.out.jsonl");
  const { code } = await run(["run", input, "--output", output, "--top-n", "2", "--ordered"]);
  expect(code).toBe(3);
  const written = lines(output);
  expect(written.map(({ id }) => id)).toEqual(Array.from({ length: 20 }, (_, i) => `r${i}`));
  expect(written.every(({ results }) => results.length === 2)).toBe(true);
  const failed = lines(join(folder, "mixed.out.errors.jsonl"));
  expect(failed.toSorted((a, b) => a.line - b.line)).toMatchObject([
    { line: 22, id: "bad", error: { code: "invalid_request", field: "query" } },
    {
      line: 23,
      error: { code: "invalid_request", message: expect.stringContaining("not JSON") as string },
    },
  ]);
  const again = await run(["run", input, "--output", output]);
  expect(again).toMatchObject({ code: 1, stderr: expect.stringContaining("--resume") as string });
});

test("run refuses what can be read only once", async () => {
  const { code, stderr } = await run(["run", "/dev/null", "--output", join(folder, "pipe.jsonl")]);
  expect([code, stderr]).toEqual([1, expect.stringContaining("no plain file") as string]);
});

test("run --local replaces a worker that was killed, whatever prefix the environment names", async () => {
  const input = writeInput("local.jsonl", 150, 30);
  const output = join(folder, "local.out.jsonl");
  const running = start(["run", input, "--output", output, "--local", "1"], {
    RANKFLEET_PREFIX: "elsewhere",
  });
  await expect
    .poll(() => existsSync(output) && readFileSync(output, "utf8").length > 0, { timeout: 20_000 })
    .toBe(true);
  const children = readFileSync(`/proc/${running.pid}/task/${running.pid}/children`, "utf8");
  const worker = children
    .trim()
    .split(" ")
    .find((pid) => readFileSync(`/proc/${pid}/cmdline`, "utf8").includes("\0worker"));
  process.kill(Number(worker), "SIGKILL");
  const { code, stderr } = await running.ended;
  expect([code, stderr]).toEqual([0, expect.stringContaining("takes its place") as string]);
  expect(lines(output)).toHaveLength(150);
}, 40_000);

test("run --resume after a kill has every line exactly once", async () => {
  const input = writeInput("bulk.jsonl", 150, 30);
  const output = join(folder, "bulk.out.jsonl");
  const first = start(["run", input, "--output", output]);
  await expect
    .poll(() => existsSync(output) && readFileSync(output, "utf8").split("\n").length > 5, {
      timeout: 20_000,
    })
    .toBe(true);
  process.kill(first.pid, "SIGKILL");
  await first.ended;
  const before = readFileSync(output, "utf8");
  writeFileSync(output, `${before}{"line":150,"id":"half`);
  const { code, stderr } = await run(["run", input, "--output", output, "--resume"]);
  expect([code, stderr]).toEqual([0, expect.stringContaining("150 requests") as string]);
  const numbers = lines(output).map(({ line }) => line);
  expect(numbers.toSorted((a, b) => a - b)).toEqual(Array.from({ length: 150 }, (_, i) => i + 1));
});

test.each(["SIGINT", "SIGTERM"] as const)(
  "run stopped by %s goes on with --resume: every line exactly once, none failed",
  async (signal) => {
    const input = writeInput(`${signal}.jsonl`, 300, 30);
    // One key a line: a job that the signal cancelled must be done anew under it.
    const keyed = readFileSync(input, "utf8").replaceAll(
      /^\{"id":"(r\d+)"/gmu,
      `{"id":"$1","idempotencyKey":"${signal}-$1"`,
    );
    writeFileSync(input, keyed);
    const output = join(folder, `${signal}.out.jsonl`);
    const stopped = start(["run", input, "--output", output]);
    await expect
      .poll(() => existsSync(output) && readFileSync(output, "utf8").length > 0, {
        timeout: 20_000,
      })
      .toBe(true);
    process.kill(-stopped.pid, signal);
    expect(await stopped.ended).toMatchObject({
      code: signal === "SIGINT" ? 130 : 143,
      stderr: expect.stringContaining("--resume") as string,
    });
    expect(lines(output).length).toBeLessThan(300);
    const errors = join(folder, `${signal}.out.errors.jsonl`);
    expect(readFileSync(errors, "utf8")).toBe("");
    const { code, stderr } = await run(["run", input, "--output", output, "--resume"]);
    expect([code, stderr]).toEqual([0, expect.stringContaining("300 requests") as string]);
    const numbers = lines(output).map(({ line }) => line);
    expect(numbers.toSorted((a, b) => a - b)).toEqual(Array.from({ length: 300 }, (_, i) => i + 1));
    expect(readFileSync(errors, "utf8")).toBe("");
  },
);

test("run --resume does again what failed for no fault of the request, and says what failed for good", async () => {
  const input = writeInput("again.jsonl", 3, 2);
  const output = join(folder, "again.out.jsonl");
  const errors = join(folder, "again.out.errors.jsonl");
  writeFileSync(output, "");
  const failure = (line: number, code: string): string =>
    `${JSON.stringify({ line, id: `r${line - 1}`, error: { code, message: "earlier" } })}\n`;
  const final = failure(2, "invalid_request");
  writeFileSync(errors, failure(1, "redis_unavailable") + final + failure(3, "model_not_served"));
  const resumed = await run(["run", input, "--output", output, "--resume"]);
  expect([resumed.code, resumed.stderr]).toEqual([
    3,
    expect.stringContaining("1 failed") as string,
  ]);
  expect(
    lines(output)
      .map(({ line }) => line)
      .toSorted((a, b) => a - b),
  ).toEqual([1, 3]);
  expect(readFileSync(errors, "utf8")).toBe(final);
});

test("run --resume cuts nothing from a file that is not its own", async () => {
  const input = writeInput("foreign.jsonl", 3, 2);
  const output = join(folder, "foreign.json");
  for (const foreign of ['{"one": "line without an end"}', '{"two": 1}\n{"line":1,']) {
    writeFileSync(output, foreign);
    const { code, stderr } = await run(["run", input, "--output", output, "--resume"]);
    expect([code, stderr]).toEqual([1, expect.stringContaining("--overwrite") as string]);
    expect(readFileSync(output, "utf8")).toBe(foreign);
  }
});

test("run without a Redis fails at once, and touches no earlier result", async () => {
  const input = writeInput("nowhere.jsonl", 3, 2);
  const output = join(folder, "nowhere.out.jsonl");
  writeFileSync(output, "earlier");
  const { code, stderr } = await run([
    "run",
    input,
    "--output",
    output,
    "--redis",
    "redis://127.0.0.1:1",
    "--overwrite",
  ]);
  expect([code, stderr]).toEqual([1, expect.stringContaining("127.0.0.1:1") as string]);
  expect(readFileSync(output, "utf8")).toBe("earlier");
  expect(existsSync(join(folder, "nowhere.out.errors.jsonl"))).toBe(false);
});

test("run never writes over its input, and touches nothing if it cannot start", async () => {
  const input = writeInput("self.jsonl", 3, 2);
  const errors = writeInput("mine.errors.jsonl", 3, 2);
  const before = readFileSync(input, "utf8");
  for (const [from, to] of [
    [input, input],
    [errors, join(folder, "mine.jsonl")],
  ] as const) {
    for (const flags of [[], ["--overwrite"], ["--resume"]]) {
      const { code, stderr } = await run(["run", from, "--output", to, ...flags]);
      expect([code, stderr]).toEqual([1, expect.stringContaining("is the input") as string]);
      expect(readFileSync(from, "utf8")).toBe(before);
    }
  }
  const output = join(folder, "untouched.jsonl");
  expect((await run(["run", folder, "--output", output])).code).toBe(1);
  expect(existsSync(output)).toBe(false);
});

test("a line separator inside a text does not end the line", async () => {
  const input = join(folder, "separator.jsonl");
  writeFileSync(
    input,
    '\ufeff{"id":"s","query":"one\u2028two","documents":["three\u2029four"]}\r\n',
  );
  const output = join(folder, "separator.out.jsonl");
  expect((await run(["run", input, "--output", output])).code).toBe(0);
  expect(lines(output)).toMatchObject([{ line: 1, id: "s" }]);
});

test("the demo prints JSON alone, and reranking helps", async () => {
  const { code, stdout } = await run(["demo", "--json"], { REDIS_URL: "" });
  expect(code).toBe(0);
  const report = JSON.parse(stdout) as Record<string, unknown> & {
    ndcg10: { firstStage: number; reranked: number };
  };
  expect(report).toMatchObject({
    pairs: expect.any(Number) as number,
    pairsPerSecond: expect.any(Number) as number,
    realOverPadded: expect.any(Number) as number,
    queueWaitMs: { p50: expect.any(Number) as number, p95: expect.any(Number) as number },
  });
  expect(report["pairs"]).toBeGreaterThan(2500);
  expect(report.ndcg10.reranked).toBeGreaterThan(report.ndcg10.firstStage + 0.03);
});

test("the demo leaves a Redis of the user's as it was", async () => {
  const users = await TestFleet.start(); // no worker of its own, whose keys would come and go
  try {
    await users.redis.set("theirs", "1");
    expect((await run(["demo", "--json"], { REDIS_URL: users.url })).code).toBe(0);
    expect(await users.redis.keys("*")).toEqual(["theirs"]);
  } finally {
    await users.stop();
  }
});

test("Ctrl-C in the demo leaves no process and no file", async () => {
  const marker = `RANKFLEET_TEST_MARKER=${process.pid}-${Date.now()}`;
  const [name, value] = marker.split("=") as [string, string];
  // While it looks for a Redis, starts one, starts workers, reranks.
  for (const delayMs of [0, 50, 1000, 2000]) {
    const demo = start(["demo"], { REDIS_URL: "", [name]: value });
    await demo.firstWords;
    await sleep(delayMs);
    process.kill(-demo.pid, "SIGINT");
    const { code, stderr } = await demo.ended;
    expect(code, stderr).toBe(130);
    expect(stderr).toMatch(/stopped\s*$/u);
    await expect.poll(() => processesWith(marker), { timeout: 20_000 }).toEqual([]);
    expect(readdirSync(folder).filter((entry) => entry.startsWith("rankfleet-"))).toEqual([]);
  }
});

test.each(["SIGINT", "SIGTERM"] as const)(
  "%s to dev alone ends its program too, and a second one leaves nothing",
  async (signal) => {
    const marker = `RANKFLEET_TEST_MARKER=${process.pid}-${Date.now()}`;
    const [name, value] = marker.split("=") as [string, string];
    const stubborn = "for (const s of ['SIGINT', 'SIGTERM']) process.on(s, () => {});";
    for (const [program, signals] of [
      ["", 1],
      [stubborn, 2],
    ] as const) {
      const script = `${program} console.log("running"); setTimeout(() => {}, 60_000)`;
      const dev = start(["dev", process.execPath, "-e", script], { [name]: value });
      await dev.firstOutput;
      for (let sent = 0; sent < signals; sent++) {
        process.kill(dev.pid, signal);
        await sleep(300);
      }
      expect((await dev.ended).code).toBe(signal === "SIGINT" ? 130 : 143);
      await expect.poll(() => processesWith(marker), { timeout: 20_000 }).toEqual([]);
    }
  },
);

/** Processes whose environment holds the marker: all that the command started, and itself. */
function processesWith(marker: string): string[] {
  return readdirSync("/proc").filter((pid) => {
    if (!/^\d+$/u.test(pid)) return false;
    try {
      return readFileSync(`/proc/${pid}/environ`, "utf8").includes(marker);
    } catch {
      return false;
    }
  });
}
