import { execFile } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { freePort } from "@rankfleet/local-redis";
import { afterEach, expect, test } from "vitest";
import { cli, TestFleet } from "./support/fleet.ts";
import { requests } from "./support/texts.ts";

const run = promisify(execFile);
const [small] = requests(1, 3);
const ends: (() => Promise<void> | void)[] = [];
afterEach(async () => {
  for (const end of ends.splice(0).toReversed()) await end();
});

async function start(settings: readonly string[] = []): Promise<TestFleet> {
  const fleet = await TestFleet.start({ settings });
  ends.push(() => fleet.stop());
  return fleet;
}

interface Finding {
  readonly check: string;
  readonly level: string;
  readonly found: string;
}

async function doctor(url: string): Promise<{ code: number; findings: Finding[] }> {
  const ended = await run(process.execPath, [cli, "doctor", "--redis", url, "--json"])
    .then(({ stdout }) => ({ stdout, code: 0 }))
    .catch((error: unknown) => error as { stdout: string; code: number });
  const { findings } = JSON.parse(ended.stdout) as { findings: Finding[] };
  return { code: ended.code, findings };
}

const levelOf = (findings: readonly Finding[], check: string): string | undefined =>
  findings.find((each) => each.check === check)?.level;

test("doctor is content with the settings that promises hold on, and says what to change of others", async () => {
  const good = await start(["maxmemory 1gb"]);
  const found = await doctor(good.url);
  expect(found.findings.filter(({ level }) => level !== "ok")).toEqual([]);
  expect(found.code).toBe(0);
  const bad = await start(["appendonly no", "maxmemory-policy allkeys-lru"]);
  const { code, findings } = await doctor(bad.url);
  expect(code).toBe(1);
  expect(levelOf(findings, "persistence")).toBe("fail");
  expect(levelOf(findings, "eviction")).toBe("fail");
  expect(levelOf(findings, "memory")).toBe("warn");
});

test("the rights in infra/redis/users.conf are enough, and no more", async () => {
  const users = readFileSync(new URL("../../infra/redis/users.conf", import.meta.url), "utf8");
  // The test's own connection is the default user's.
  const fleet = await start([users.replace("user default off\n", "")]);
  const { port } = fleet.redisServer;
  const urlOf = (user: string): string =>
    `redis://rankfleet-${user}:${user}-password@127.0.0.1:${port}`;
  const worker = await fleet.worker({ REDIS_URL: urlOf("worker") });
  const client = fleet.client({ redis: urlOf("producer") });
  expect((await client.rerank(small!)).results).toHaveLength(3);
  const big = requests(1, 300)[0]!;
  expect((await client.rerank({ ...big, idempotencyKey: "big" })).results).toHaveLength(300);
  const job = await client.enqueue({ ...small!, query: "to be cancelled" });
  await job.cancel();
  await client.backlog("box");
  await client.deadLetters.list("box");
  const { findings, code } = await doctor(urlOf("worker"));
  expect(findings.filter(({ level }) => level === "fail")).toEqual([]);
  expect(code).toBe(0);
  expect(levelOf((await doctor(urlOf("producer"))).findings, "rights")).toBe("ok");
  worker.child.kill("SIGTERM");
  expect(await worker.ended).toBe(0);

  const { Redis } = await import("ioredis");
  const producer = new Redis(urlOf("producer"));
  ends.push(() => producer.disconnect());
  await expect(producer.flushall()).rejects.toThrow(/NOPERM/u);
  await expect(producer.set("theirs", "1")).rejects.toThrow(/NOPERM/u);
  await expect(producer.config("GET", "*")).rejects.toThrow(/NOPERM/u);
  await expect(producer.keys("*")).rejects.toThrow(/NOPERM/u);
  await fleet.redis.call("ACL", "SETUSER", "rankfleet-worker", "-eval");
  const less = await doctor(urlOf("worker"));
  expect([less.code, levelOf(less.findings, "rights")]).toEqual([1, "fail"]);
});

test("TLS: rediss:// with a certificate of one's own authority", async () => {
  const folder = mkdtempSync(join(tmpdir(), "tls-test-"));
  ends.push(() => rmSync(folder, { recursive: true }));
  const [key, certificate] = [join(folder, "key.pem"), join(folder, "cert.pem")];
  const request = "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost";
  const names = "subjectAltName=IP:127.0.0.1,DNS:localhost";
  await run("openssl", [
    ...request.split(" "),
    "-addext",
    names,
    "-keyout",
    key,
    "-out",
    certificate,
  ]);
  const port = await freePort();
  const fleet = await start([
    `tls-port ${port}`,
    `tls-cert-file ${certificate}`,
    `tls-key-file ${key}`,
    `tls-ca-cert-file ${certificate}`,
    "tls-auth-clients no",
  ]);
  const { password } = fleet.redisServer;
  const url = `rediss://:${password}@127.0.0.1:${port}`;
  await fleet.worker({ REDIS_URL: url, NODE_EXTRA_CA_CERTS: certificate });
  const tls = { ca: readFileSync(certificate) };
  const client = fleet.client({ redis: { host: "127.0.0.1", port, password, tls } });
  expect((await client.rerank(small!)).results).toHaveLength(3);
  // Without the authority nobody is talked to.
  const stranger = fleet.client({ redis: url });
  await expect(stranger.rerank(small!)).rejects.toMatchObject({ code: "redis_unavailable" });
});

test("a password that is missing or wrong is said as such", async () => {
  const fleet = await start([]);
  const { port } = fleet.redisServer;
  for (const url of [`redis://127.0.0.1:${port}`, `redis://:wrong@127.0.0.1:${port}`]) {
    const attempt = fleet.client({ redis: url }).rerank(small!);
    await expect(attempt).rejects.toMatchObject({
      code: "redis_unavailable",
      message: expect.stringContaining("wants a password") as string,
    });
  }
});
