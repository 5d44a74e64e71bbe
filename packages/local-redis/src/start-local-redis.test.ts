import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Redis } from "ioredis";
import { afterEach, expect, test } from "vitest";
import { findRedisServer } from "./find-redis-server.ts";
import { startLocalRedis } from "./start-local-redis.ts";

const connections: Redis[] = [];
const open = (url: string): Redis => {
  const redis = new Redis(url, { retryStrategy: () => null });
  redis.on("error", () => {});
  connections.push(redis);
  return redis;
};
afterEach(() => {
  for (const redis of connections.splice(0)) redis.disconnect();
});

const isAlive = (pid: number): boolean => {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
};

test("on loopback, with a password, an append-only file and noeviction; nothing is left of it", async () => {
  const local = await startLocalRedis();
  const redis = open(local.url);
  const setting = async (name: string): Promise<string> =>
    ((await redis.config("GET", name)) as [string, string])[1];
  expect(await setting("bind")).toBe("127.0.0.1");
  expect(await setting("appendonly")).toBe("yes");
  expect(await setting("maxmemory-policy")).toBe("noeviction");
  const folder = await setting("dir");
  expect(statSync(join(folder, "redis.conf")).mode & 0o077).toBe(0);
  await expect(open(`redis://127.0.0.1:${local.port}`).ping()).rejects.toThrow("NOAUTH");
  await local.stop();
  expect([existsSync(folder), isAlive(local.pid)]).toEqual([false, false]);
});

test("a Redis of somebody else's on the port is not taken for ours", async () => {
  const theirs = await startLocalRedis();
  await open(theirs.url).config("SET", "requirepass", ""); // So that it takes any password.
  try {
    await expect(startLocalRedis({ port: theirs.port })).rejects.toThrow(/Address already in use/u);
    expect(isAlive(theirs.pid)).toBe(true);
  } finally {
    await theirs.stop();
  }
});

test("its port, and that of a Cluster node's bus, are none that outgoing connections are given", async () => {
  const [node, other] = await Promise.all(
    [1, 2].map(() => startLocalRedis({ settings: ["cluster-enabled yes"] })),
  );
  try {
    expect(node!.port).not.toBe(other!.port);
    expect(node!.port + 10_000).toBeLessThan(32_768); // Where Linux begins to give, unless told otherwise.
    const redis = open(node!.url);
    expect(await redis.call("CLUSTER", "MEET", "127.0.0.1", other!.port)).toBe("OK");
    await expect.poll(() => redis.call("CLUSTER", "NODES")).toContain(`:${other!.port}@`);
  } finally {
    await Promise.all([node!.stop(), other!.stop()]);
  }
});

test("a folder may have spaces and quotes in its name", async () => {
  const parent = mkdtempSync(join(tmpdir(), "local-redis-test-"));
  try {
    const dataFolder = join(parent, 'my "data" \\ here');
    const local = await startLocalRedis({ dataFolder });
    await open(local.url).set("kept", "yes");
    await local.stop();
    expect(existsSync(join(dataFolder, "appendonlydir"))).toBe(true);
  } finally {
    rmSync(parent, { recursive: true });
  }
});

test("a folder of the caller's keeps its data from one start to the next", async () => {
  const dataFolder = mkdtempSync(join(tmpdir(), "local-redis-test-"));
  try {
    const first = await startLocalRedis({ dataFolder });
    await open(first.url).set("kept", "yes");
    await first.stop();
    const second = await startLocalRedis({ dataFolder });
    expect(await open(second.url).get("kept")).toBe("yes");
    await second.stop();
  } finally {
    rmSync(dataFolder, { recursive: true });
  }
});

test("it does not outlive a parent that is killed", async () => {
  const program = `
    import { startLocalRedis } from ${JSON.stringify(new URL("../dist/index.js", import.meta.url).href)};
    const { pid, url } = await startLocalRedis();
    process.stdout.write(JSON.stringify({ pid, url }));
    setInterval(() => {}, 1000);`;
  const parent = spawn(process.execPath, ["--input-type=module", "--eval", program], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  const [text] = (await once(parent.stdout, "data")) as [Buffer];
  const { pid } = JSON.parse(text.toString()) as { pid: number };
  expect(isAlive(pid)).toBe(true);
  parent.kill("SIGKILL");
  await expect.poll(() => isAlive(pid), { timeout: 10_000 }).toBe(false);
});

test("a port that is taken is an error with the server's own words", async () => {
  const local = await startLocalRedis();
  await expect(startLocalRedis({ port: local.port })).rejects.toMatchObject({
    code: "redis_not_started",
    message: expect.stringContaining("in use") as string,
  });
  await local.stop();
});

test("a server that dies of its settings is told at once, with its own words", async () => {
  const start = performance.now();
  await expect(startLocalRedis({ settings: ["no-such-setting yes"] })).rejects.toMatchObject({
    code: "redis_not_started",
    message: expect.stringContaining("no-such-setting") as string,
  });
  // And not when patience has run out, after fifteen seconds.
  expect(performance.now() - start).toBeLessThan(10_000);
});

test("where there is none and none can be had, the message names the three ways to one", async () => {
  const env = { PATH: "", XDG_CACHE_HOME: join(tmpdir(), "no-such-cache") };
  const before = process.env["PATH"];
  process.env["PATH"] = "";
  try {
    await expect(findRedisServer(env)).rejects.toMatchObject({
      code: "redis_not_found",
      message: expect.stringMatching(/REDIS_URL.*on the PATH.*Debian or Ubuntu/su) as string,
    });
  } finally {
    process.env["PATH"] = before;
    rmSync(env.XDG_CACHE_HOME, { recursive: true, force: true });
  }
});

test("a program that was named and does not run is an error that names it", async () => {
  await expect(findRedisServer({ RANKFLEET_REDIS_SERVER: "/bin/false" })).rejects.toThrow(
    "RANKFLEET_REDIS_SERVER",
  );
});

test("Ctrl-C while a program is being tried is an end, not a reason to download another", async () => {
  const folder = mkdtempSync(join(tmpdir(), "local-redis-path-"));
  try {
    const program = '#!/bin/sh\ntouch "$0.tried"\nexec sleep 60\n';
    writeFileSync(join(folder, "redis-server"), program, { mode: 0o755 });
    const interruption = new AbortController();
    const said: string[] = [];
    const found = findRedisServer(
      { PATH: folder, XDG_CACHE_HOME: folder },
      { say: (line) => said.push(line), signal: interruption.signal },
    );
    await expect
      .poll(() => existsSync(join(folder, "redis-server.tried")), { interval: 1 })
      .toBe(true);
    interruption.abort(new Error("Ctrl-C"));
    await expect(found).rejects.toThrow("Ctrl-C");
    expect(said).toEqual([]);
  } finally {
    rmSync(folder, { recursive: true });
  }
});

const hasApt = existsSync("/usr/bin/apt-get");
test.runIf(hasApt)(
  "Debian's package is unpacked without root, once, and runs",
  { timeout: 120_000 },
  async () => {
    const cache = mkdtempSync(join(tmpdir(), "local-redis-cache-"));
    try {
      const env = { PATH: "/nowhere", XDG_CACHE_HOME: cache };
      const said: string[] = [];
      const found = await findRedisServer(env, { say: (line) => said.push(line) });
      expect(found.path.startsWith(cache)).toBe(true);
      expect(await findRedisServer(env, { say: (line) => said.push(line) })).toEqual(found);
      expect(said).toHaveLength(1);
    } finally {
      rmSync(cache, { recursive: true });
    }
  },
);
