import { execFile } from "node:child_process";
import { createRequire } from "node:module";
import { availableParallelism, cpus, totalmem } from "node:os";
import { promisify } from "node:util";
import { startLocalRedis } from "@rankfleet/local-redis";
import { Redis } from "ioredis";

/** What a figure is worth without: where it was measured. */
export async function environment(): Promise<Record<string, string | number>> {
  const require = createRequire(import.meta.resolve("@rankfleet/core"));
  const onnxruntime = (require("onnxruntime-node/package.json") as { version: string }).version;
  return {
    cpu: cpus()[0]?.model ?? "unknown",
    cores: availableParallelism(),
    memoryGiB: Math.round(totalmem() / 2 ** 30),
    node: process.version,
    gpu: await firstLine("nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"),
    onnxruntime,
    // Suites that need none run where none can be had.
    redis: await redisVersion().catch(() => "none"),
    date: new Date().toISOString(),
    commit: await firstLine("git", "describe", "--always", "--dirty"),
  };
}

async function redisVersion(): Promise<string> {
  const server = await startLocalRedis();
  const redis = new Redis(server.url);
  try {
    return /redis_version:(\S+)/u.exec(await redis.info("server"))?.[1] ?? "unknown";
  } finally {
    redis.disconnect();
    await server.stop();
  }
}

async function firstLine(program: string, ...args: readonly string[]): Promise<string> {
  const cwd = new URL(".", import.meta.url).pathname;
  const { stdout } = await promisify(execFile)(program, args, { cwd }).catch(() => ({
    stdout: "unknown",
  }));
  return stdout.trim().split("\n")[0]!;
}
