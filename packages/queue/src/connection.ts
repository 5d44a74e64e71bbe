import type { Redis } from "ioredis";
import { BackpressureError, RankfleetError, RedisUnavailableError } from "./contract/index.ts";
import { nameRedis, openRedis, type RedisSource } from "./topology.ts";

/**
 * What a connection is for. A *producer* has somebody waiting, so a command gives up after about ten
 * seconds without Redis; a *consumer* has nothing better to do, so it waits for ever.
 */
export type ConnectionRole = "producer" | "consumer";

/** The first dial says soon whether Redis is there at all; later gaps are ridden out. */
const FIRST_CONTACT_MS = 5_000;
/**
 * A host that vanished, or a network that drops packets, closes no connection: the kernel would wait for a quarter of an
 * hour. BullMQ's longest wait for a job is ten seconds.
 */
const SILENCE_MS = 15_000;
/** With ioredis's back-off (50 ms doubled, at most 5 s) this is about 11 seconds. */
const PRODUCER_RETRIES = 8;

/** @throws RedisUnavailableError if Redis does not answer within five seconds, with the reason. */
export async function connect(source: RedisSource, role: ConnectionRole): Promise<Redis> {
  const options = {
    lazyConnect: true,
    replyMapping: "legacy" as const,
    maxRetriesPerRequest: role === "consumer" ? null : PRODUCER_RETRIES,
    socketTimeout: SILENCE_MS,
    // A master that has become a replica keeps its connections and refuses all they write; whoever dials its address anew,
    // or asks the Sentinels, comes to the new one. What was refused is not sent again: the server may be none's master.
    reconnectOnError: ({ message }: Error) => message.includes("READONLY"),
  };
  let redis: Redis;
  try {
    redis = openRedis(source, options);
  } catch (cause) {
    const message = `redis: ${cause instanceof Error ? cause.message : String(cause)}`;
    throw new RedisUnavailableError("redis_unavailable", message, { field: "redis", cause });
  }
  if (!redis.isCluster) writeOncePerTick(redis);
  if (role === "consumer") letScriptsFree(redis);
  let lastError: Error | undefined;
  // Without a listener ioredis prints each failed reconnect; commands report it to who is waiting.
  redis.on("error", (error) => (lastError = error));
  const timeout = AbortSignal.timeout(FIRST_CONTACT_MS);
  const tooLate = new Promise<never>((_, reject) => {
    timeout.addEventListener("abort", () =>
      reject(new Error(`no answer in ${FIRST_CONTACT_MS} ms`)),
    );
  });
  try {
    redis.connect().catch(() => {});
    await Promise.race([firstWord(redis), failedForGood(redis), tooLate]);
    return redis;
  } catch (cause) {
    redis.disconnect();
    const reason = lastError?.message ?? (cause instanceof Error ? cause.message : String(cause));
    const message = /^(?:NOAUTH|WRONGPASS)/u.test(reason)
      ? `Redis at ${nameRedis(source)} wants a password, or another one: redis://:password@host or redis://user:password@host (${reason})`
      : `cannot reach Redis at ${nameRedis(source)}: ${reason}. Name yours in REDIS_URL or where this was called (--redis, or the SDK's redis), e.g. redis://127.0.0.1:6379`;
    throw new RedisUnavailableError("redis_unavailable", message, { field: "redis", cause });
  }
}

/** ioredis passes over a database that does not exist, and stays with the first one, which may be another fleet's. */
async function firstWord(redis: Redis): Promise<void> {
  await redis.ping();
  const { db = 0 } = redis.isCluster ? {} : redis.options;
  if (db > 0) await redis.select(db);
}

/**
 * One system call for all commands of a tick, not one for each: a worker settles many jobs at once, and
 * the calls were a tenth of its main thread. (ioredis's own automatic pipelines cost more than they save
 * with scripts: measured, 20 % fewer jobs.)
 */
function writeOncePerTick(redis: Redis): void {
  redis.on("connect", () => {
    const { stream } = redis;
    const write = stream.write.bind(stream) as (...chunk: unknown[]) => boolean;
    let isCorked = false;
    stream.write = (...chunk: unknown[]): boolean => {
      if (!isCorked) {
        isCorked = true;
        stream.cork();
        process.nextTick(() => {
          isCorked = false;
          stream.uncork();
        });
      }
      return write(...chunk);
    };
  });
}

/**
 * A Redis that is full (`maxmemory` under `noeviction`) refuses what may need memory, and that is how BullMQ's
 * scripts begin: taking a job, ending one, renewing a lease. So nothing could ever drain it. But a script
 * that has begun to write is not stopped (Redis: scriptVerifyOOM), and DEL and HDEL are writes that are never refused.
 * (Of a key without a hash tag no other key need lie on its node, so there a field is deleted that nobody sets.)
 * Producers do not get this: they shall be refused.
 */
function letScriptsFree(redis: Redis): void {
  const defineCommand = redis.defineCommand.bind(redis);
  redis.defineCommand = (name, definition) =>
    defineCommand(name, {
      ...definition,
      lua: `${BEGUN_LUA}\n${definition.lua}`,
    });
}

const BEGUN_LUA = `
if KEYS[1] and string.find(KEYS[1], "{", 1, true) then redis.call("DEL", KEYS[1] .. ":begun")
elseif KEYS[1] then redis.pcall("HDEL", KEYS[1], "") end
`;

/** A refused password or unknown host will not get better by dialling again. */
function failedForGood(redis: Redis): Promise<never> {
  return new Promise((_, reject) => {
    redis.on("error", (error: Error) => {
      if (/ECONNREFUSED|ENOTFOUND|WRONGPASS|NOAUTH|NOPERM/u.test(error.message)) reject(error);
    });
  });
}

/** A Redis error as one of the contract's: full and unreachable are not the job's fault. */
export function fromRedisError(error: unknown): unknown {
  if (!(error instanceof Error) || RankfleetError.isInstance(error)) return error;
  if (error.message.startsWith("MISCONF ")) {
    return new BackpressureError(
      "backpressure",
      `Redis cannot write its append-only file, so it takes no jobs: ${error.message}`,
      { cause: error },
    );
  }
  if (error.message.startsWith("NOREPLICAS ")) {
    return new BackpressureError(
      "backpressure",
      `Redis takes no writes while it has too few replicas (min-replicas-to-write): ${error.message}`,
      { cause: error },
    );
  }
  if (error.message.startsWith("OOM ")) {
    return new BackpressureError(
      "backpressure",
      "Redis is full (maxmemory under noeviction): wait until workers have drained some of the backlog, or give Redis more memory",
      { cause: error },
    );
  }
  const isConnection =
    ["MaxRetriesPerRequestError", "ClusterAllFailedError"].includes(error.name) ||
    /Connection is closed|aborted due to connection close|ECONN|EPIPE|CLUSTERDOWN|Cluster redirections|READONLY|^LOADING |^MASTERDOWN |Socket timeout/u.test(
      error.message,
    );
  if (!isConnection) return error;
  // ioredis's own text is about an option of ours.
  const reason =
    error.name === "MaxRetriesPerRequestError" ? "several tries had no answer" : error.message;
  return new RedisUnavailableError("redis_unavailable", `Redis went away: ${reason}`, {
    cause: error,
  });
}
