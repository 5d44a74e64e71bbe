import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { text as textOf } from "node:stream/consumers";
import { gzipSync } from "node:zlib";
import { afterAll, beforeAll, expect, test } from "vitest";
import { startCommand, type Ended } from "./support/command.ts";
import { cli, TestFleet } from "./support/fleet.ts";
import { requests } from "./support/texts.ts";

let folder: string;
let fleet: TestFleet;
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "run-test-"));
  fleet = await TestFleet.start();
  await fleet.worker();
});
afterAll(async () => {
  await fleet.stop();
  rmSync(folder, { recursive: true });
});

const start = (args: string[], env: Record<string, string> = {}): ReturnType<typeof startCommand> =>
  startCommand(args, { REDIS_URL: fleet.url, TMPDIR: folder, ...env });

const run = (args: string[], env: Record<string, string> = {}): Promise<Ended> =>
  start(args, env).ended;

/** Run as `"$@"` of a line of bash. */
async function runInShell(line: string, args: readonly string[]): Promise<Ended> {
  const child = spawn("bash", ["-c", line, "bash", process.execPath, cli, ...args], {
    env: { ...process.env, REDIS_URL: fleet.url },
    stdio: ["ignore", "ignore", "pipe"],
  });
  const stderr = textOf(child.stderr);
  const [code] = (await once(child, "close")) as [number];
  return { code, stdout: "", stderr: await stderr };
}

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

test("run says of a gzipped input what to do, and makes no output of it", async () => {
  const input = join(folder, "packed.jsonl.gz");
  writeFileSync(input, gzipSync(readFileSync(writeInput("packed.jsonl", 5, 2))));
  const output = join(folder, "packed.out.jsonl");
  const { code, stderr } = await run(["run", input, "--output", output]);
  expect([code, stderr]).toEqual([1, expect.stringContaining("unpack it first") as string]);
  expect(existsSync(output)).toBe(false);
});

test.each(["/dev/null", "-", "."])("run writes to a plain file, and not to %s", async (output) => {
  const input = writeInput("plain.jsonl", 1, 1);
  const { code, stderr } = await run(["run", input, "--output", output, "--overwrite"]);
  expect([code, stderr]).toEqual([1, expect.stringContaining("is no plain file") as string]);
});

test("run says which file has no room, and goes on once there is", async () => {
  const input = writeInput("room.jsonl", 60, 5);
  const output = join(folder, "room.out.jsonl");
  const small = await runInShell('ulimit -f 8; exec "$@"', ["run", input, "--output", output]);
  expect(small.code).toBe(1);
  expect(small.stderr).toContain(`cannot write ${output}: EFBIG`);
  expect(small.stderr).toContain("--resume");
  expect(await run(["run", input, "--output", output, "--resume"])).toMatchObject({ code: 0 });
  expect(lines(output)).toHaveLength(60);
});

test("run goes on where nobody reads any more what it says", async () => {
  const input = writeInput("unread.jsonl", 5, 2);
  writeFileSync(input, `${readFileSync(input, "utf8")}{torn\n`);
  const output = join(folder, "unread.out.jsonl");
  const { code } = await runInShell('"$@" 2> >(exec 0<&-)', ["run", input, "--output", output]);
  expect([code, lines(output).length]).toEqual([3, 5]);
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

test("run --resume on another input than the results are of is refused, and changes nothing", async () => {
  const input = writeInput("other.jsonl", 3, 2);
  const output = join(folder, "other.out.jsonl");
  const earlier = `${JSON.stringify({ line: 2, id: "r2", model: "box" })}\n`;
  writeFileSync(output, earlier);
  const { code, stderr } = await run(["run", input, "--output", output, "--resume"]);
  expect([code, stderr]).toEqual([1, expect.stringMatching(/line 2 .*"r2"/u) as string]);
  expect(readFileSync(output, "utf8")).toBe(earlier);
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
