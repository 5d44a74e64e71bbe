import { randomUUID } from "node:crypto";
import type { Redis } from "ioredis";
import { connect } from "./connection.ts";
import { keysFor } from "./contract/index.ts";
import { readMemory } from "./memory.ts";
import type { RedisSource } from "./topology.ts";

/** One thing that was looked at. */
export interface Finding {
  readonly check: string;
  /** `fail`: promises do not hold. `warn`: they hold, with less. */
  readonly level: "ok" | "warn" | "fail";
  readonly found: string;
  /** What to change. */
  readonly advice?: string;
}

/**
 * Whether a Redis is one that rankfleet's promises hold on. It writes a few keys of its own under the prefix
 * and removes them.
 *
 * @throws RedisUnavailableError if it cannot be reached.
 */
export async function examineRedis(source: RedisSource, prefix: string): Promise<Finding[]> {
  const redis = await connect(source, "producer");
  try {
    const findings: Finding[] = [];
    for (const check of [topology, version, persistence, policy, memory, clock, rights, delay]) {
      findings.push(...(await check(redis, prefix)));
    }
    return findings;
  } finally {
    redis.disconnect();
  }
}

type Check = (redis: Redis, prefix: string) => Promise<Finding[]>;

const topology: Check = async (redis) => {
  const info = fieldsOf(await redis.info("replication"));
  const replicas = Number(info.get("connected_slaves") ?? 0);
  const kind = redis.isCluster ? "Cluster" : "one server";
  if (info.get("role") !== "master") {
    const advice = "point REDIS_URL at the master, or use redis-sentinel://…#name";
    return [{ check: "topology", level: "fail", found: `role ${info.get("role")}`, advice }];
  }
  return [{ check: "topology", level: "ok", found: `${kind}, ${replicas} replicas` }];
};

const version: Check = async (redis) => {
  const info = fieldsOf(await redis.info("server"));
  const found = info.get("valkey_version") ?? info.get("redis_version") ?? "unknown";
  const [major = 0, minor = 0] = found.split(".").map(Number);
  const isNew = major > 6 || (major === 6 && minor >= 2);
  return [
    isNew
      ? { check: "version", level: "ok", found }
      : { check: "version", level: "fail", found, advice: "6.2 or later is needed" },
  ];
};

const persistence: Check = async (redis) => {
  const info = fieldsOf(await redis.info("persistence"));
  if (info.get("aof_enabled") !== "1") {
    const advice =
      "set appendonly yes: without it a restart of Redis loses accepted jobs (CONFIG SET appendonly yes, and redis.conf)";
    return [{ check: "persistence", level: "fail", found: "no append-only file", advice }];
  }
  if (info.get("aof_last_write_status") === "err") {
    const advice = "make room on its disk: Redis takes no writes until then";
    return [{ check: "persistence", level: "fail", found: "the file cannot be written", advice }];
  }
  const fsync = await setting(redis, "appendfsync");
  const found = `append-only file, appendfsync ${fsync ?? "unknown (no right to CONFIG GET)"}`;
  if (fsync === "no") {
    const advice = "set appendfsync everysec: power failure may cost half a minute now";
    return [{ check: "persistence", level: "warn", found, advice }];
  }
  return [{ check: "persistence", level: "ok", found }];
};

const policy: Check = async (redis) => {
  const found =
    fieldsOf(await redis.info("memory")).get("maxmemory_policy") ??
    (await setting(redis, "maxmemory-policy")) ??
    "unknown";
  if (found === "noeviction") return [{ check: "eviction", level: "ok", found }];
  const advice =
    "set maxmemory-policy noeviction: any other drops jobs and results when it is full";
  return [{ check: "eviction", level: "fail", found, advice }];
};

const memory: Check = async (redis) => {
  const { used, most } = await readMemory(redis);
  const mib = (bytes: number): string => `${Math.round(bytes / 1024 ** 2)} MiB`;
  if (most === 0) {
    const advice = "set maxmemory, so that producers are held back before the machine is out of it";
    return [{ check: "memory", level: "warn", found: `${mib(used)} used, no maxmemory`, advice }];
  }
  const found = `${mib(used)} of ${mib(most)} used`;
  if (used < 0.7 * most) return [{ check: "memory", level: "ok", found }];
  const advice = "start workers, or raise maxmemory: producers are held back at 90 %";
  return [{ check: "memory", level: "warn", found, advice }];
};

const clock: Check = async (redis) => {
  const before = Date.now();
  const [seconds, microseconds] = await redis.time();
  const offset = Number(seconds) * 1000 + Number(microseconds) / 1000 - (before + Date.now()) / 2;
  const found = `${(Math.abs(offset) / 1000).toFixed(1)} s ${offset < 0 ? "behind" : "ahead of"} this machine`;
  if (Math.abs(offset) < 2_000) return [{ check: "clock", level: "ok", found }];
  const advice =
    "deadlines go by Redis's clock and stay right; logs will not agree: run NTP on both";
  return [{ check: "clock", level: "warn", found, advice }];
};

/** What producers and workers do, tried. */
const rights: Check = async (redis, prefix) => {
  const keys = keysFor(prefix);
  const key = `${keys.model("doctor").base}:${randomUUID()}`;
  const attempts: Record<string, () => Promise<unknown>> = {
    "SET, GET, DEL": () => redis.set(key, "1", "PX", 10_000).then(() => redis.get(key)),
    EVAL: () => redis.eval("return redis.call('TIME')[1]", 1, key),
    "HSET, ZADD, XADD, LPUSH": () =>
      Promise.all([
        redis.hset(`${key}:h`, "a", 1),
        redis.zadd(`${key}:z`, 1, "a"),
        redis.xadd(`${key}:x`, "*", "a", "b"),
        redis.lpush(`${key}:l`, "a"),
      ]),
    WAIT: () => redis.wait(0, 1),
    BZPOPMIN: () => redis.bzpopmin(`${key}:z`, 0.01),
    PUBLISH: () => redis.publish(keys.ended("doctor"), ""),
    SUBSCRIBE: async () => {
      const subscriber = redis.duplicate();
      subscriber.on("error", () => {});
      try {
        await subscriber.subscribe(keys.ended("doctor"));
      } finally {
        subscriber.disconnect();
      }
    },
  };
  const refused: string[] = [];
  for (const [name, attempt] of Object.entries(attempts)) {
    try {
      await attempt();
    } catch (error) {
      refused.push(`${name} (${error instanceof Error ? error.message : String(error)})`);
    }
  }
  await Promise.allSettled(["", ":h", ":z", ":x", ":l"].map((end) => redis.del(`${key}${end}`)));
  if (refused.length === 0) {
    return [{ check: "rights", level: "ok", found: "all that producers and workers need" }];
  }
  const advice = "give the user what infra/redis/users.conf lists";
  return [{ check: "rights", level: "fail", found: `refused: ${refused.join("; ")}`, advice }];
};

const delay: Check = async (redis) => {
  const times: number[] = [];
  for (let i = 0; i < 20; i++) {
    const start = performance.now();
    await redis.ping();
    times.push(performance.now() - start);
  }
  const median = times.sort((a, b) => a - b)[10]!;
  const found = `${median.toFixed(1)} ms there and back`;
  if (median < 20) return [{ check: "delay", level: "ok", found }];
  const advice = "workers should be near Redis: an interactive request takes some five ways";
  return [{ check: "delay", level: "warn", found, advice }];
};

/** Undefined if the user may not ask. */
async function setting(redis: Redis, name: string): Promise<string | undefined> {
  try {
    return (await redis.config("GET", name))[1];
  } catch {
    return undefined;
  }
}

function fieldsOf(info: string): Map<string, string> {
  return new Map(
    info.split("\r\n").flatMap((line): [string, string][] => {
      const colon = line.indexOf(":");
      return colon < 0 ? [] : [[line.slice(0, colon), line.slice(colon + 1)]];
    }),
  );
}
