import { access, constants } from "node:fs/promises";
import { delimiter, isAbsolute, join } from "node:path";
import { cachedRedisServer, unpackRedisServer } from "./debian-package.ts";
import { LocalRedisError } from "./local-redis-error.ts";
import { isRunnable, probe, type RedisServerProgram } from "./redis-server-program.ts";

export interface FindOptions {
  readonly say?: ((line: string) => void) | undefined;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Finds a `redis-server` or `valkey-server` that runs: `RANKFLEET_REDIS_SERVER`, the PATH, or Debian's
 * package, unpacked once without root into a cache folder.
 *
 * @param options.say Told before a download, which takes seconds.
 * @param options.signal Ends the search and the download.
 * @throws LocalRedisError `redis_not_found`, naming the three ways to get one; the signal's reason.
 */
export async function findRedisServer(
  env: Readonly<Record<string, string | undefined>> = process.env,
  { say = () => {}, signal }: FindOptions = {},
): Promise<RedisServerProgram> {
  const named = env["RANKFLEET_REDIS_SERVER"];
  if (named !== undefined && named !== "") return namedServer(named, signal);
  for (const name of ["redis-server", "valkey-server"]) {
    for await (const path of onPath(name, env)) {
      if (await isRunnable({ path, env: {} }, signal)) return { path, env: {} };
    }
  }
  const cached = await cachedRedisServer(env);
  if (cached !== undefined && (await isRunnable(cached, signal))) return cached;
  try {
    say(
      "no redis-server on this machine: unpacking Debian's package into the cache (once, no root)",
    );
    const unpacked = await unpackRedisServer(env, signal);
    await probe(unpacked, signal);
    return unpacked;
  } catch (cause) {
    signal?.throwIfAborted();
    throw new LocalRedisError(
      "redis_not_found",
      "no Redis found. Three ways to get one: set REDIS_URL to a running Redis; install redis-server " +
        "or valkey-server so that it is on the PATH; or run this on Debian or Ubuntu, where apt brings " +
        `it without root (tried: ${lastLine(cause)})`,
      cause,
    );
  }
}

/** Whoever names a program wants that one, so a broken one is not passed over. */
async function namedServer(
  path: string,
  signal: AbortSignal | undefined,
): Promise<RedisServerProgram> {
  try {
    await probe({ path, env: {} }, signal);
    return { path, env: {} };
  } catch (cause) {
    signal?.throwIfAborted();
    throw new LocalRedisError(
      "redis_not_found",
      `expected RANKFLEET_REDIS_SERVER to name a redis-server that runs, got ${path} ` +
        `(${lastLine(cause)}): correct it or unset it`,
      cause,
    );
  }
}

async function* onPath(
  name: string,
  env: Readonly<Record<string, string | undefined>>,
): AsyncGenerator<string> {
  for (const folder of (env["PATH"] ?? "").split(delimiter).filter(isAbsolute)) {
    const path = join(folder, name);
    const isThere = await access(path, constants.X_OK).then(
      () => true,
      () => false,
    );
    if (isThere) yield path;
  }
}

/** A failed command's message repeats what it wrote to standard error; the end of that says why. */
function lastLine(cause: unknown): string {
  return (
    String(cause instanceof Error ? cause.message : cause)
      .trim()
      .split("\n")
      .at(-1) ?? ""
  );
}
