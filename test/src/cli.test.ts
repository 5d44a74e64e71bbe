import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, expect, test } from "vitest";
import { processesWith, startCommand, type Ended } from "./support/command.ts";
import { TestFleet } from "./support/fleet.ts";

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

const start = (args: string[], env: Record<string, string> = {}): ReturnType<typeof startCommand> =>
  startCommand(args, { REDIS_URL: fleet.url, TMPDIR: folder, ...env });

const run = (args: string[], env: Record<string, string> = {}): Promise<Ended> =>
  start(args, env).ended;

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

test("queue forget takes off a model that nobody serves, and no other", async () => {
  const offer = { model: "old", revision: "r", dtype: "fp32", maxTokens: 512 };
  await fleet.redis.hset("rankfleet:models", "old", JSON.stringify(offer));
  expect(await run(["queue", "forget", "old"])).toMatchObject({
    code: 0,
    stdout: "old is forgotten\n",
  });
  expect(await run(["queue", "forget", "old"])).toMatchObject({ code: 1 });
  const served = await run(["queue", "forget", "box"]);
  expect([served.code, served.stderr]).toEqual([
    1,
    expect.stringContaining("workers: 1") as string,
  ]);
  expect((await run(["queue", "stats"])).stdout).toContain("box");
});

test.each([
  ["weight/acme=Infinity", "weight/acme must be a number above 0"],
  ["weight/acme=0", "weight/acme must be a number above 0"],
  ["pairs=-1", "pairs must be a whole number"],
  ["pairs=many", "pairs must be a whole number"],
  ["pairs", "a change is name=value"],
  ["pears=1", "no such limit; there are pairs, bytes, tenantPairs"],
])("queue limits does not take %s", async (change, why) => {
  const { code, stderr } = await run(["queue", "limits", change]);
  expect([code, stderr]).toEqual([2, expect.stringContaining(`"${change}": ${why}`) as string]);
});

test("judge shows its rubric without a folder, and does nothing else without one", async () => {
  const [shown, refused] = await Promise.all([run(["judge", "--show-rubric"]), run(["judge"])]);
  expect([shown.code, shown.stdout]).toEqual([0, expect.stringContaining("Grades:") as string]);
  expect([refused.code, refused.stderr]).toEqual([
    2,
    expect.stringContaining("missing required argument 'folder'") as string,
  ]);
});

test("score names a document's fault as the SDK does, and scores the others", async () => {
  const { code, stdout } = await run(["score", "--json", "how to boil an egg", "", "Boil it."]);
  expect([code, JSON.parse(stdout)]).toMatchObject([
    0,
    { results: [{ index: 1 }, { index: 0, error: { code: "invalid_document" } }] },
  ]);
});

test("queue stats shows models, workers and jobs", async () => {
  const { stdout } = await run(["queue", "stats", "--json"]);
  expect(JSON.parse(stdout)).toMatchObject({
    models: [{ model: "box", dtype: "int8", workers: 1, waiting: 0, active: 0 }],
  });
  expect((await run(["queue", "stats"])).stdout).toContain("box");
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
