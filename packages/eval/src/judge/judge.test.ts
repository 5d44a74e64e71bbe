import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { agreement } from "./agreement.ts";
import { judgePairs, type PairToJudge } from "./judge-pairs.ts";

/** A fake of an OpenAI-compatible endpoint, which cannot exist here; it speaks its protocol over HTTP. */
let server: Server;
let asked: { model: string; messages: { content: string }[]; temperature: number }[];
/** `body` is sent as it is, instead of a completion of `content`. */
let answer: (n: number) => { status: number; content?: string; body?: string; retryAfter?: string };
let folder: string;
beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), "judge-test-"));
  asked = [];
  answer = () => ({ status: 200, content: "grade: 2" });
  server = createServer((request, response) => {
    let body = "";
    request.on("data", (chunk: Buffer) => (body += chunk.toString()));
    request.on("end", () => {
      asked.push(JSON.parse(body) as (typeof asked)[number]);
      const { status, content, body: raw, retryAfter = "0.05" } = answer(asked.length);
      response.writeHead(status, { "content-type": "application/json", "retry-after": retryAfter });
      response.end(
        status === 200
          ? (raw ?? JSON.stringify({ choices: [{ message: { role: "assistant", content } }] }))
          : content,
      );
    });
  }).listen(0, "127.0.0.1");
  await new Promise((resolve) => server.once("listening", resolve));
});
afterEach(() => {
  server.close();
  rmSync(folder, { recursive: true });
});

const pairs: PairToJudge[] = Array.from({ length: 6 }, (_, i) => ({
  query: "q",
  document: `d${i}`,
  queryText: "how deep is the lake",
  documentText: `passage ${i}`,
}));
const many = (length: number): PairToJudge[] =>
  Array.from({ length }, (_, i) => ({ ...pairs[0]!, documentText: `text ${i}` }));
const options = () => ({
  endpoint: {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/v1`,
    model: "judge",
  },
  cacheFile: join(folder, "cache.jsonl"),
  concurrency: 2,
});

test("each pair is asked once at temperature 0, and never again with the same cache", async () => {
  const judged = await judgePairs(pairs, options());
  expect(judged.map(({ grade, isCached }) => [grade, isCached])).toEqual(
    pairs.map(() => [2, false]),
  );
  expect(asked).toHaveLength(6);
  expect(asked[0]).toMatchObject({ model: "judge", temperature: 0 });
  expect(asked[0]!.messages[1]!.content).toContain("how deep is the lake");
  const again = await judgePairs(pairs, options());
  expect(again.every(({ isCached }) => isCached)).toBe(true);
  expect(asked).toHaveLength(6);
});

test("after a failure the next run goes on where it stopped, also behind a line that was cut off", async () => {
  answer = (n) => (n <= 3 ? { status: 200, content: "3" } : { status: 401, content: "no key" });
  await expect(judgePairs(pairs, { ...options(), concurrency: 1 })).rejects.toMatchObject({
    code: "endpoint_refused",
    message: expect.stringContaining("no key") as string,
  });
  writeFileSync(options().cacheFile, `${readFileSync(options().cacheFile, "utf8")}{"key":"torn`);
  answer = () => ({ status: 200, content: "grade: 1" });
  asked = [];
  const judged = await judgePairs(pairs, options());
  expect(judged.map(({ grade }) => grade)).toEqual([3, 3, 3, 1, 1, 1]);
  expect(asked).toHaveLength(3);
  expect((await judgePairs(pairs, options())).every(({ isCached }) => isCached)).toBe(true);
});

// 409 is a lock that could not be had in time: OpenAI's own clients ask again too.
test.each([408, 409, 429, 500, 503])("after a %i the endpoint is asked again", async (status) => {
  answer = (n) => (n <= 2 ? { status, content: "busy" } : { status: 200, content: "0" });
  const judged = await judgePairs(pairs.slice(0, 1), options());
  expect([judged[0]!.grade, asked.length]).toEqual([0, 3]);
});

test.each([400, 413, 422])("a %i is the pair's, and asking again is no use", async (status) => {
  answer = () => ({ status, content: "no" });
  const [judged] = await judgePairs(pairs.slice(0, 1), options());
  expect(judged).toMatchObject({ grade: undefined, problem: expect.stringContaining("no") });
  expect(asked).toHaveLength(1);
});

test.each([401, 403, 404])("a %i ends the run at once", async (status) => {
  answer = () => ({ status, content: "no" });
  const judging = judgePairs(pairs, { ...options(), concurrency: 1 });
  await expect(judging).rejects.toMatchObject({ code: "endpoint_refused" });
  expect(asked).toHaveLength(1);
});

test.each([
  ["3600", "it asks for 3600 s; asking again in 120 s"],
  [new Date(Date.now() + 60_000).toUTCString(), "asking again in "],
])("a long wait, asked for by %j, is said, and capped", async (retryAfter, words) => {
  answer = () => ({ status: 429, content: "quota", retryAfter });
  const said: string[] = [];
  const controller = new AbortController();
  const onWait = (reason: string): void => {
    said.push(reason);
    controller.abort(new Error("enough"));
  };
  const judging = judgePairs(pairs.slice(0, 1), {
    ...options(),
    signal: controller.signal,
    onWait,
  });
  await expect(judging).rejects.toThrow("enough");
  expect(said).toEqual([expect.stringContaining(words)]);
  expect(said[0]).toContain("answered 429: quota");
});

test("a pair that the endpoint will not take has no grade, and is asked about again", async () => {
  answer = (n) =>
    n === 2 ? { status: 400, content: "too long" } : { status: 200, content: "grade: 2" };
  const judged = await judgePairs(pairs, { ...options(), concurrency: 1 });
  expect(judged.map(({ grade }) => grade)).toEqual([2, undefined, 2, 2, 2, 2]);
  const again = await judgePairs(pairs, options());
  expect([again.map(({ grade }) => grade), asked.length]).toEqual([[2, 2, 2, 2, 2, 2], 7]);
});

test("a pair that gets no JSON at any try costs itself alone, and so it does at a resume", async () => {
  let asksBad = 0;
  answer = () => {
    const isBad = asked.at(-1)!.messages[1]!.content.includes("passage 2");
    asksBad += Number(isBad);
    return isBad
      ? { status: 200, body: "<html>blocked</html>" }
      : { status: 200, content: "grade: 2" };
  };
  const judged = await judgePairs(pairs, options());
  expect(judged.map(({ grade }) => grade)).toEqual([2, 2, undefined, 2, 2, 2]);
  expect(judged[2]!.problem).toContain("<html>blocked</html>");
  expect(asksBad).toBe(3);
  const again = await judgePairs(pairs, options());
  expect(again.map(({ grade }) => grade)).toEqual([2, 2, undefined, 2, 2, 2]);
  expect(asksBad).toBe(6);
});

test("a pair that the endpoint always fails on costs itself alone", async () => {
  const six = many(6);
  answer = () =>
    asked.at(-1)!.messages[1]!.content.includes("text 2")
      ? { status: 500, content: "boom" }
      : { status: 200, content: "grade: 3" };
  const judged = await judgePairs(six, { ...options(), concurrency: 1 });
  expect(judged.map(({ grade }) => grade)).toEqual([3, 3, undefined, 3, 3, 3]);
  expect(judged[2]!.problem).toContain("in 6 tries");
});

test("an endpoint that fails on three pairs in a row has given out", async () => {
  answer = () => ({ status: 503, content: "down" });
  const running = judgePairs(many(6), { ...options(), concurrency: 1 });
  await expect(running).rejects.toMatchObject({ code: "endpoint_failed" });
  expect(asked).toHaveLength(18);
});

test("a body that is no JSON once is asked for again", async () => {
  answer = (n) => (n === 1 ? { status: 200, body: "" } : { status: 200, content: "grade: 2" });
  const [judged] = await judgePairs(pairs.slice(0, 1), options());
  expect([judged!.grade, judged!.problem]).toEqual([2, undefined]);
});

test("an endpoint that has begun to answer without JSON ends the run, and says what came", async () => {
  answer = (n) =>
    n <= 4 ? { status: 200, content: "grade: 2" } : { status: 200, body: "<html>sign in</html>" };
  await expect(judgePairs(many(60), { ...options(), concurrency: 20 })).rejects.toMatchObject({
    code: "answer_unreadable",
    message: expect.stringMatching(/is the URL the API's.*sign in/u) as string,
  });
  expect(asked.length).toBeLessThan(4 + 3 * 41);
});

test("at a resume of which only refused pairs are left, they are not held against the endpoint", async () => {
  const all = many(30);
  await judgePairs(all.slice(0, 1), options());
  answer = () => ({ status: 400, content: "too long" });
  const judged = await judgePairs(all, options());
  expect(judged.map(({ grade }) => grade)).toEqual([2, ...all.slice(1).map(() => undefined)]);
});

test("equal texts are asked about once, and an answer without a grade is one", async () => {
  answer = () => ({ status: 200, content: "I cannot say" });
  const same = pairs.map((pair) => ({ ...pair, documentText: "the same" }));
  const judged = await judgePairs(same, options());
  expect(judged.map(({ grade }) => grade)).toEqual(same.map(() => undefined));
  await judgePairs(same, options());
  expect(asked).toHaveLength(1);
});

test("what is under way at an abort is paid for: it is awaited, and kept", async () => {
  const controller = new AbortController();
  answer = () => {
    controller.abort(new Error("enough"));
    return { status: 200, content: "grade: 2" };
  };
  const judging = judgePairs(pairs, { ...options(), signal: controller.signal });
  await expect(judging).rejects.toThrow("enough");
  const [paid] = [asked.length];
  answer = () => ({ status: 200, content: "grade: 2" });
  await judgePairs(pairs, options());
  expect(asked).toHaveLength(pairs.length);
  expect(paid).toBeGreaterThan(0);
});

test("an endpoint that takes none of the first twenty is at fault itself", async () => {
  answer = () => ({ status: 400, content: "no such model" });
  await expect(judgePairs(many(60), options())).rejects.toThrow("no such model");
  expect(asked.length).toBeLessThan(30);
});

test("an abort ends the wait for a busy endpoint with its own reason", async () => {
  answer = () => ({ status: 503, content: "busy" });
  const controller = new AbortController();
  setTimeout(() => controller.abort(new Error("enough")), 100);
  const judging = judgePairs(pairs, { ...options(), signal: controller.signal });
  await expect(judging).rejects.toThrow("enough");
});

test("negative grades are not relevant, whatever their number", () => {
  const of = (grades: number[]) => new Map([["q", new Map(grades.map((g, i) => [`d${i}`, g]))]]);
  expect(agreement(of([-2, -2, -1, 1, 2, 0]), of([0, 0, 0, 1, 2, 0])).binaryKappa).toBe(1);
});

test("Cohen's κ of the textbook's table: 20 yes/yes, 5 yes/no, 10 no/yes, 15 no/no is 0.40", () => {
  const counts: [number, number, number][] = [
    [1, 1, 20],
    [1, 0, 5],
    [0, 1, 10],
    [0, 0, 15],
  ];
  const list = counts.flatMap(([a, b, n]) => Array.from({ length: n }, () => [a, b] as const));
  const side = (which: 0 | 1) =>
    new Map([["q", new Map(list.map((pair, i) => [`d${i}`, pair[which]]))]]);
  const { pairs: compared, observed, kappa, binaryKappa } = agreement(side(0), side(1));
  expect([compared, observed]).toEqual([50, 0.7]);
  expect(kappa).toBeCloseTo(0.4, 12);
  expect(binaryKappa).toBeCloseTo(0.4, 12);
});
