import { spawn, type ChildProcess } from "node:child_process";
import { usableCores } from "@rankfleet/core";
import { fileURLToPath } from "node:url";
import { startLocalRedis } from "@rankfleet/local-redis";
import { DEFAULT_PREFIX } from "@rankfleet/queue/contract";
import { NODE_FLAGS } from "@rankfleet/worker";

/** A Redis and some workers that live as long as one command. */
export interface Fleet {
  readonly redis: string;
  readonly workers: number;
  readonly threadsPerWorker: number;
  /** Totals of all workers, by Prometheus's name and labels. */
  counters(): Promise<ReadonlyMap<string, number>>;
  stop(): Promise<void>;
}

export interface FleetOptions {
  readonly workers: number;
  /** A Redis that is there already. Default: one of our own, which goes with the fleet. */
  readonly redis?: string | undefined;
  readonly prefix?: string | undefined;
  readonly models?: readonly string[] | undefined;
  readonly signal: AbortSignal;
  say(line: string): void;
}

/** @throws LocalRedisError, WorkerStartError, or the signal's reason. */
export async function startFleet(options: FleetOptions): Promise<Fleet> {
  const { workers, signal } = options;
  const local =
    options.redis === undefined
      ? await startLocalRedis({ say: (line) => options.say(line), signal })
      : undefined;
  const redis = options.redis ?? local!.url;
  const threadsPerWorker = Math.max(1, Math.floor(usableCores() / workers));
  const env = {
    ...process.env,
    REDIS_URL: redis,
    RANKFLEET_THREADS: String(threadsPerWorker),
    RANKFLEET_PORT: "0",
    LOG_LEVEL: process.env["LOG_LEVEL"] ?? "warn",
    // Of a Redis of our own the prefix is ours too, whatever the environment says of another one.
    ...(local === undefined && options.prefix === undefined
      ? {}
      : { RANKFLEET_PREFIX: options.prefix ?? DEFAULT_PREFIX }),
    ...(options.models === undefined ? {} : { RANKFLEET_MODEL: options.models.join(",") }),
  };
  const started = new Set<ChildProcess>();
  let isStopping = false;
  const stop = async (): Promise<void> => {
    isStopping = true;
    await Promise.all([...started].map(endWorker));
    await local?.stop();
  };
  const urls: string[] = [];
  let restarts = 0;
  /** A worker that ends by itself, e.g. killed by a document, is replaced: nobody else looks after these. */
  const keepOne = async (place: number): Promise<void> => {
    const { url, ended } = await startWorker(env, started, signal);
    urls[place] = url;
    void ended
      .then((how) => {
        if (isStopping || signal.aborted) return;
        options.say(`a worker ended (${how}); another one takes its place`);
        if (++restarts > MOST_RESTARTS) throw new Error(`${restarts} workers have ended`);
        return keepOne(place);
      })
      .catch((error: unknown) => {
        if (isStopping || signal.aborted) return;
        options.say(`error: no worker can be kept alive: ${(error as Error).message}`);
        process.kill(process.pid, "SIGTERM");
      });
  };
  try {
    await Promise.all(Array.from({ length: workers }, (_, place) => keepOne(place)));
    return { redis, workers, threadsPerWorker, counters: () => readCounters(urls), stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

/** A document that kills costs three; more than some such documents is no accident. */
const MOST_RESTARTS = 12;

/** Resolves with the address of the worker's metrics once it takes jobs. */
function startWorker(
  env: NodeJS.ProcessEnv,
  started: Set<ChildProcess>,
  signal: AbortSignal,
): Promise<{ readonly url: string; readonly ended: Promise<string> }> {
  signal.throwIfAborted();
  const program = fileURLToPath(new URL("../bin/rankfleet.mjs", import.meta.url));
  const child = spawn(process.execPath, [...NODE_FLAGS, program, "worker"], {
    env,
    stdio: ["ignore", "ignore", "pipe", "ipc"],
    // Ctrl-C at a terminal reaches the command alone, which then ends its workers in order.
    detached: true,
  });
  started.add(child);
  const ended = new Promise<string>((resolve) =>
    child.once("exit", (code, ending) => {
      started.delete(child);
      resolve(ending ?? `exit code ${code}`);
    }),
  );
  child.stderr?.on("data", (chunk: Buffer) => process.stderr.write(chunk));
  return new Promise((resolve, reject) => {
    child.once("message", ({ url }: { url: string }) => resolve({ url, ended }));
    // "close", so that what it said stands above.
    child.once("close", (code, ending) => reject(new WorkerStartError(code ?? ending)));
    signal.addEventListener("abort", () => reject(signal.reason), { once: true });
  });
}

class WorkerStartError extends Error {
  override readonly name = "WorkerStartError";
  readonly code = "worker_not_started";

  constructor(how: number | NodeJS.Signals | null) {
    super(`a worker could not start (it ended with ${how}): what it said stands above`);
  }
}

const LAST_CALL_MS = 5_000;

async function endWorker(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const exited = new Promise((resolve) => child.once("exit", resolve));
  child.kill("SIGTERM");
  const timer = setTimeout(() => child.kill("SIGKILL"), LAST_CALL_MS);
  await exited;
  clearTimeout(timer);
}

async function readCounters(urls: readonly string[]): Promise<ReadonlyMap<string, number>> {
  const totals = new Map<string, number>();
  for (const url of urls) {
    const text = await (await fetch(`${url}/metrics`)).text();
    for (const [, series, value] of text.matchAll(/^(rankfleet_\S+) (\S+)$/gmu)) {
      totals.set(series!, (totals.get(series!) ?? 0) + Number(value));
    }
  }
  return totals;
}
