import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { writeWhole } from "./output-file.ts";

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "output-file-test-"));
});
afterAll(() => rmSync(folder, { recursive: true }));

test("what ends in the middle of its pieces leaves the file as it was", async () => {
  const file = join(folder, "dead.jsonl");
  writeFileSync(file, "of yesterday");
  async function* pieces(): AsyncGenerator<string> {
    yield "half";
    await Promise.reject(new Error("Redis is gone"));
  }
  await expect(writeWhole(file, pieces)).rejects.toThrow("Redis is gone");
  expect(readFileSync(file, "utf8")).toBe("of yesterday");
  expect(readdirSync(folder)).toEqual(["dead.jsonl"]);
});
