import { existsSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { type Ended, startCommand } from "./support/command.ts";

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "eval-outputs-test-"));
  mkdirSync(join(folder, DIRECTORY));
});
afterAll(() => rmSync(folder, { recursive: true }));

const DIRECTORY = "a-folder";

/** There is no collection: what comes after the outputs would speak of that. */
async function evaluate(...outputs: string[]): Promise<Ended> {
  return startCommand(["eval", "/nowhere", ...outputs], {}).ended;
}

test.each([
  ["give the name of a file", "--json", ""],
  ["give the name of a file", "--report", ""],
  ["give the name of a file", "--plot", ""],
  ["give the name of a file", "--run-out", ""],
  ["give the name of a file", "--first-stage-out", ""],
  ["it is a folder; name a file in it", "--json", DIRECTORY],
  ["it is a folder; name a file in it", "--report", "new/"],
  ["nowhere; make it first", "--plot", "nowhere/depth.svg"],
  // Root may write anywhere, but there are no files to be made in /proc.
  ["name a file elsewhere", "--run-out", "/proc/run.trec"],
  ["name a file elsewhere", "--json", "x".repeat(253)],
])("“%s” is said of %s before anything is read", async (words, option, name) => {
  const file = name === "" || name.startsWith("/") ? name : join(folder, name);
  const { code, stderr } = await evaluate(option, file);
  expect(code).toBe(1);
  expect(stderr).toContain(`${option} "${file}" cannot be written: `);
  expect(stderr).toContain(words);
});

test("two outputs in one file are refused, whatever it is called", async () => {
  const there = join(folder, "one.json");
  writeFileSync(there, "as before");
  symlinkSync(there, join(folder, "link.json"));
  const fresh = join(folder, "two.json");
  for (const [first, second] of [
    [there, join(folder, "link.json")],
    [fresh, `${folder}/${DIRECTORY}/../two.json`],
    ["-", "-"],
  ] as const) {
    const { code, stderr } = await evaluate("--json", first, "--run-out", second);
    expect(code).toBe(1);
    expect(stderr).toContain(
      `--run-out "${second}" cannot be written: --json goes there; name another file`,
    );
  }
  const { stderr } = await evaluate("--json", "/dev/null", "--run-out", "/dev/null");
  expect(stderr).toContain("/nowhere/corpus.jsonl");
});

test("outputs that can be written are left alone by a run that comes to nothing", async () => {
  const there = join(folder, "there.json");
  writeFileSync(there, "as before");
  const fresh = join(folder, "fresh.html");
  const { stderr } = await evaluate("--json", there, "--report", fresh);
  expect(stderr).toContain("/nowhere/corpus.jsonl");
  expect([fresh, `${fresh}.part`, `${there}.part`].filter(existsSync)).toEqual([]);
});
