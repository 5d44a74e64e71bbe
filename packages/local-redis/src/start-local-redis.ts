import { spawn, type ChildProcess } from "node:child_process";
import { randomBytes } from "node:crypto";
import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve as absolute } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { Redis } from "ioredis";
import { findRedisServer } from "./find-redis-server.ts";
import { freePort } from "./free-port.ts";
import { LocalRedisError } from "./local-redis-error.ts";

export interface LocalRedisOptions {
  /** Where its data lives. Default: a temporary folder that goes when it stops. */
  readonly dataFolder?: string;
  /** Default: any free one. */
  readonly port?: number;
  /** As redis.conf writes it, e.g. `100mb`. Default: no limit. */
  readonly maxmemory?: string;
  /** Default: a random one. To be named where several servers know each other, or one comes back. */
  readonly password?: string;
  /** More lines of redis.conf. */
  readonly settings?: readonly string[];
  /** A Sentinel: no data, no password; `settings` say what it watches. Default false. */
  readonly isSentinel?: boolean;
  /** Told of slow steps. */
  readonly say?: (line: string) => void;
  /** Ends the search for a server, and the start. */
  readonly signal?: AbortSignal;
}

export interface LocalRedis {
  readonly url: string;
  readonly port: number;
  readonly password: string;
  readonly pid: number;
  /** Ends the server and, if it was temporary, removes its folder. */
  stop(): Promise<void>;
}

/**
 * Starts a Redis of our own: on loopback, with a random password, append-only file and `noeviction`, in
 * a folder of its own.
 *
 * It cannot outlive this process. A small shell holds it and reads a pipe from us; when the pipe ends,
 * because we stopped it or because we are gone, however that came about, the shell ends the server and
 * removes the folder. It is in a session of its own, so that Ctrl-C at a terminal does not take the
 * queue away from workers that are still draining.
 *
 * @throws LocalRedisError `redis_not_found` or `redis_not_started`; the signal's reason.
 */
export async function startLocalRedis(options: LocalRedisOptions = {}): Promise<LocalRedis> {
  const program = await findRedisServer(process.env, options);
  for (let attempt = 1; ; attempt++) {
    const port = options.port ?? (await freePort());
    const instance = await prepare(port, options);
    const shell = spawn(
      "/bin/sh",
      [
        "-c",
        HOLD,
        "rankfleet-redis",
        program.path,
        instance.config,
        instance.log,
        instance.temporary,
        ...(options.isSentinel ? ["--sentinel"] : []),
      ],
      {
        detached: true,
        stdio: ["pipe", "ignore", "ignore"],
        env: { ...process.env, ...program.env },
      },
    );
    shell.unref();
    (shell.stdin as unknown as { unref?: () => void }).unref?.();
    try {
      const pid = await answers(instance, shell, options.signal);
      return {
        port,
        password: instance.password,
        url: instance.url,
        pid,
        stop: () => end(shell, instance),
      };
    } catch (cause) {
      const log = await readFile(instance.log, "utf8").catch(() => "");
      await end(shell, instance);
      options.signal?.throwIfAborted();
      // Between looking for a free port and taking it, somebody else may have.
      if (/Address already in use/u.test(log) && options.port === undefined && attempt < 5)
        continue;
      const tail = log.trim().split("\n").slice(-3).join("\n");
      throw new LocalRedisError(
        "redis_not_started",
        `${program.path} did not start: ${tail || String(cause)}`,
        cause,
      );
    }
  }
}

/**
 * $1 server, $2 its configuration, $3 its log, $4 the folder to remove or nothing, $5 its mode or nothing. Ends with the
 * server, which ends when our side of the pipe is closed, however that comes. A server that
 * ends by itself leaves its log to be read. (By `read`, since a `cat` would outlive the shell that started it.) A file that may not grow is an error for the server then, as on a full disk, and not its end.
 */
const HOLD = `
trap '' XFSZ
"$1" "$2" $5 >"$3" 2>&1 &
server=$!
exec 3<&0
{ while read -r _; do :; done <&3; kill -TERM $server 2>/dev/null; } &
wait $server
kill $! 2>/dev/null && exit 1
[ -n "$4" ] && rm -rf "$4"
`;

interface Instance {
  readonly config: string;
  readonly log: string;
  readonly temporary: string;
  readonly password: string;
  readonly url: string;
}

async function prepare(
  port: number,
  { dataFolder, maxmemory, isSentinel, settings: more = [], ...options }: LocalRedisOptions,
): Promise<Instance> {
  const folder = absolute(dataFolder ?? (await mkdtemp(join(tmpdir(), "rankfleet-redis-"))));
  await mkdir(folder, { recursive: true });
  const password = isSentinel ? "" : (options.password ?? randomBytes(18).toString("base64url"));
  const data = [
    `requirepass ${password}`,
    "appendonly yes",
    "appendfsync everysec",
    // Jobs come and go: the file grows by what passed through. A rewrite takes a core from the fleet for as long as it lasts,
    // and nearly half of that would be compression.
    "auto-aof-rewrite-min-size 512mb",
    "rdbcompression no",
    'save ""',
    "maxmemory-policy noeviction",
    ...(maxmemory === undefined ? [] : [`maxmemory ${maxmemory}`]),
  ];
  const settings = [
    `port ${port}`,
    "bind 127.0.0.1",
    `dir "${folder.replaceAll(/["\\]/gu, String.raw`\$&`)}"`,
    ...(isSentinel ? [] : data),
    ...more,
  ];
  const config = join(folder, "redis.conf");
  // A file rather than arguments: the password must not be in the process list.
  await writeFile(config, `${settings.join("\n")}\n`, { mode: 0o600 });
  return {
    config,
    log: join(folder, "redis.log"),
    temporary: dataFolder === undefined ? folder : "",
    password,
    url: password === "" ? `redis://127.0.0.1:${port}` : `redis://:${password}@127.0.0.1:${port}`,
  };
}

const START_MS = 15_000;

/** Waits for a PONG; returns the server's process id. */
async function answers(
  { url, config }: Instance,
  shell: ChildProcess,
  signal: AbortSignal | undefined,
): Promise<number> {
  const redis = new Redis(url, {
    lazyConnect: true,
    retryStrategy: () => null,
    maxRetriesPerRequest: 0,
  });
  redis.on("error", () => {});
  try {
    for (const until = Date.now() + START_MS; ; await sleep(15)) {
      signal?.throwIfAborted();
      try {
        await redis.connect();
        break;
      } catch (cause) {
        if (Date.now() > until || shell.exitCode !== null) throw cause;
      }
    }
    // A Sentinel has no such section.
    while ((await redis.info("persistence")).includes("loading:1")) await sleep(15);
    const server = await redis.info("server");
    if (/config_file:(.*)/u.exec(server)?.[1]?.trim() !== config) {
      throw new Error("Address already in use: another Redis answers on that port");
    }
    return Number(/process_id:(\d+)/u.exec(server)?.[1]);
  } finally {
    redis.disconnect();
  }
}

async function end(shell: ChildProcess, { temporary }: Instance): Promise<void> {
  if (shell.exitCode === null && shell.signalCode === null) {
    const exited = new Promise((resolve) => shell.once("exit", resolve));
    shell.ref();
    shell.stdin?.end();
    await exited;
  }
  if (temporary !== "") await rm(temporary, { recursive: true, force: true });
}
