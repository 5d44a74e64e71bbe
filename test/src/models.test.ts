import { execFile } from "node:child_process";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { afterAll, beforeAll, expect, test } from "vitest";
import { modelFor } from "@rankfleet/bench/models";
import { cli } from "./support/fleet.ts";

const root = new URL("../../", import.meta.url);
const box = fileURLToPath(new URL("models/box", root));
let work: string;
let inFloat: string;
beforeAll(async () => {
  inFloat = await modelFor("tiny", "fp32");
  work = await mkdtemp(join(tmpdir(), "rankfleet-models-"));
});
afterAll(() => rm(work, { recursive: true, force: true }));

async function rankfleet(...args: string[]): Promise<string> {
  const { stdout } = await promisify(execFile)(process.execPath, [cli, ...args], {
    env: { ...process.env, RANKFLEET_CACHE_FOLDER: work },
  });
  return stdout;
}

test("models show measures once, and says so the second time", async () => {
  const show = ["models", "show", box, "--threads", "1", "--json"];
  const first = JSON.parse(await rankfleet(...show)) as Shown;
  expect(first).toMatchObject({ dtype: "int8", batchInvariant: true, device: "cpu" });
  expect(first.calibration.kneeTokens).toBeGreaterThan(0);
  expect(first.calibration.samples.length).toBeGreaterThan(8);
  expect(first.pairsPerSecond["128"]).toBeGreaterThan(100);
  const second = JSON.parse(await rankfleet(...show)) as Shown;
  expect(second.calibration).toEqual(first.calibration);
  const anew = JSON.parse(await rankfleet(...show, "--again")) as Shown;
  expect(anew.calibration.measuredAt).not.toBe(first.calibration.measuredAt);
});

interface Shown {
  readonly calibration: { kneeTokens: number; samples: unknown[]; measuredAt: string };
  readonly pairsPerSecond: Record<string, number>;
}

test("models quantize makes a folder that a worker can serve, and says what it costs", async () => {
  const corpus = await readFile(new URL("apps/cli/demo-corpus/corpus.jsonl", root), "utf8");
  const texts = corpus
    .trim()
    .split("\n")
    .map((line) => (JSON.parse(line) as { text: string }).text);
  const calibration = join(work, "pairs.jsonl");
  const requests = Array.from({ length: 10 }, (_, i) =>
    JSON.stringify({ query: texts[i]!.slice(0, 60), documents: texts.slice(10 * i, 10 * i + 6) }),
  );
  await writeFile(calibration, requests.join("\n"));
  const out = join(work, "quantised");
  const report = JSON.parse(
    await rankfleet(
      "models",
      "quantize",
      inFloat,
      "--out",
      out,
      "--calibration",
      calibration,
      "--json",
    ),
  ) as { dtype: string; layers: number; batchInvariant: boolean; heldOut: { orderKept: number } };
  expect(report).toMatchObject({ dtype: "int8", batchInvariant: true });
  expect(report.layers).toBeGreaterThan(3);
  expect(report.heldOut.orderKept).toBeGreaterThan(0.8);
  const shown = await rankfleet("models", "show", out, "--dtype", "int8", "--threads", "1");
  expect(shown).toMatch(/batch invariant +yes/u);
}, 120_000);

test("what is wrong is named, with the way out", async () => {
  const without = rankfleet("models", "quantize", inFloat, "--out", join(work, "x"));
  await expect(without).rejects.toThrow(/calibration: is missing: give a file of JSON lines/u);
  const onto = rankfleet(
    "models",
    "quantize",
    inFloat,
    "--out",
    inFloat,
    "--calibration",
    "x.jsonl",
  );
  await expect(onto).rejects.toThrow(/out: must be another folder/u);
  const file = join(work, "a-file");
  await writeFile(file, "");
  const over = rankfleet("models", "quantize", inFloat, "--out", file, "--calibration", "x.jsonl");
  await expect(over).rejects.toThrow(/out: .*a-file is no folder/u);
});
