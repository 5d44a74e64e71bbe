import { execFile } from "node:child_process";
import { access, constants } from "node:fs/promises";
import { delimiter, join } from "node:path";
import { promisify } from "node:util";
import { cachedRedisServer, unpackRedisServer } from "./debian-package.ts";
import { LocalRedisError } from "./local-redis-error.ts";

const run = promisify(execFile);

/** A Redis server program, and what its environment must have. */
export interface RedisServerProgram {
  readonly path: string;
  readonly env: Readonly<Record<string, string>>;
}

/**
 * Finds a `redis-server` or `valkey-server`: `RANKFLEET_REDIS_SERVER`, the PATH, or Debian's package,
 * unpacked once without root into a cache folder.
 *
 * @param say Told before a download, which takes seconds.
 * @throws LocalRedisError `redis_not_found`, naming the three ways to get one.
 */
export async function findRedisServer(
  env: Readonly<Record<string, string | undefined>> = process.env,
  say: (line: string) => void = () => {},
): Promise<RedisServerProgram> {
  const named = env["RANKFLEET_REDIS_SERVER"];
  if (named !== undefined && named !== "") return { path: named, env: {} };
  const installed = (await onPath("redis-server", env)) ?? (await onPath("valkey-server", env));
  if (installed !== undefined) return { path: installed, env: {} };
  const cached = await cachedRedisServer(env);
  if (cached !== undefined && (await starts(cached))) return cached;
  try {
    say(
      "no redis-server on this machine: unpacking Debian's package into the cache (once, no root)",
    );
    const unpacked = await unpackRedisServer(env);
    if (await starts(unpacked)) return unpacked;
  } catch (cause) {
    throw notFound(cause);
  }
  throw notFound(undefined);
}

async function onPath(
  name: string,
  env: Readonly<Record<string, string | undefined>>,
): Promise<string | undefined> {
  for (const folder of (env["PATH"] ?? "").split(delimiter)) {
    const path = join(folder, name);
    const isThere = await access(path, constants.X_OK).then(
      () => true,
      () => false,
    );
    if (isThere && folder !== "") return path;
  }
  return undefined;
}

async function starts({ path, env }: RedisServerProgram): Promise<boolean> {
  return run(path, ["--version"], { env: { ...process.env, ...env } }).then(
    () => true,
    () => false,
  );
}

function notFound(cause: unknown): LocalRedisError {
  const reason =
    cause instanceof Error ? ` (the last failed: ${cause.message.split("\n")[0]})` : "";
  return new LocalRedisError(
    "redis_not_found",
    "no Redis found. Three ways to get one: set REDIS_URL to a running Redis; install redis-server or " +
      `valkey-server so that it is on the PATH; or run this on Debian or Ubuntu, where apt brings it${reason}`,
    cause,
  );
}
