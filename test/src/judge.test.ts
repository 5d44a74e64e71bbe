import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { cli } from "./support/fleet.ts";

/** A fake of an OpenAI-compatible endpoint: how it answers a prompt. */
let answer: (prompt: string) => { status: number; body: string; retryAfter?: string };
let server: Server;
let folder: string;
beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), "judge-test-"));
  const passages = ["one", "two", "three"].map((text, i) => JSON.stringify({ id: `d${i}`, text }));
  writeFileSync(join(folder, "corpus.jsonl"), passages.join("\n"));
  writeFileSync(join(folder, "queries.jsonl"), '{"id":"q","text":"which"}');
  writeFileSync(join(folder, "qrels.tsv"), "q\td0\t2\nq\td1\t0\nq\td2\t1\n");
  server = createServer((request, response) => {
    let text = "";
    request.on("data", (chunk: Buffer) => (text += chunk.toString()));
    request.on("end", () => {
      const { status, body, retryAfter } = answer(text);
      response.writeHead(status, retryAfter === undefined ? {} : { "retry-after": retryAfter });
      response.end(body);
    });
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
});
afterEach(() => {
  server.close();
  rmSync(folder, { recursive: true });
});

const graded = (content: string) => ({
  status: 200,
  body: JSON.stringify({ choices: [{ message: { content } }] }),
});

function judge(...more: string[]) {
  const { port } = server.address() as AddressInfo;
  const where = ["--endpoint", `http://127.0.0.1:${port}/v1`, "--llm", "fake"];
  const args = ["judge", folder, ...where, "--output", join(folder, "llm.qrels"), ...more];
  const child = spawn(process.execPath, [cli, ...args], { stdio: ["ignore", "pipe", "pipe"] });
  const said = { stdout: "", stderr: "" };
  child.stdout.on("data", (chunk: Buffer) => (said.stdout += chunk.toString()));
  child.stderr.on("data", (chunk: Buffer) => (said.stderr += chunk.toString()));
  return { child, said, ended: once(child, "close") as Promise<[number]> };
}

test("a pair without an answer and one without a clear grade are told apart, and the rest is written", async () => {
  answer = (prompt) => {
    if (prompt.includes("PASSAGE\\ntwo")) return { status: 200, body: "<html>blocked</html>" };
    return graded(prompt.includes("PASSAGE\\nthree") ? "grade: 1\ngrade: 2" : "grade: 2");
  };
  const { said, ended } = judge("--json");
  expect(await ended).toEqual([0, null]);
  expect(JSON.parse(said.stdout)).toMatchObject({ pairs: 3, unclear: 1, unanswered: 1 });
  expect(said.stderr).toMatch(/without an answer.*: 1, e\.g\. "d1" of "q": http.*blocked/u);
  expect(readFileSync(join(folder, "llm.qrels"), "utf8")).toBe("q 0 d0 2\n");
});

test("a long wait that the endpoint asks for is said while it lasts", async () => {
  answer = () => ({ status: 429, body: "quota used up", retryAfter: "3600" });
  const { child, said, ended } = judge();
  while (!said.stderr.includes("waiting:")) await once(child.stderr, "data");
  expect(said.stderr).toMatch(/quota used up; it asks for 3600 s; asking again in 120 s/u);
  child.kill("SIGINT");
  expect(await ended).toEqual([130, null]);
});
