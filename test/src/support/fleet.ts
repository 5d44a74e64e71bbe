import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { startLocalRedis, type LocalRedis, type LocalRedisOptions } from "@rankfleet/local-redis";
import { RerankClient, type RerankClientOptions } from "@rankfleet/sdk";
import { Redis } from "ioredis";

export const cli: string = fileURLToPath(
  new URL("../../../apps/cli/bin/rankfleet.mjs", import.meta.url),
);

/** A worker process of the built product. */
export interface WorkerProcess {
  readonly child: ChildProcess;
  readonly url: string;
  /** Resolves with the exit code, or the signal that ended it. */
  readonly ended: Promise<number | string>;
}

/** A real Redis and whatever a test starts on it; `stop` ends all of it. */
export class TestFleet {
  readonly redisServer: LocalRedis;
  readonly redis: Redis;
  readonly #clients: RerankClient[] = [];
  readonly #workers: WorkerProcess[] = [];

  private constructor(redisServer: LocalRedis) {
    this.redisServer = redisServer;
    this.redis = new Redis(redisServer.url, { maxRetriesPerRequest: null });
    this.redis.on("error", () => {}); // Some tests take the server away.
  }

  static async start(options?: LocalRedisOptions): Promise<TestFleet> {
    return new TestFleet(await startLocalRedis(options));
  }

  get url(): string {
    return this.redisServer.url;
  }

  client(options: RerankClientOptions = {}): RerankClient {
    const client = new RerankClient({
      redis: this.url,
      modelWaitMs: 20_000,
      warnAboveDocuments: Infinity,
      ...options,
    });
    this.#clients.push(client);
    return client;
  }

  async worker(env: Record<string, string> = {}): Promise<WorkerProcess> {
    const child = spawn(process.execPath, [cli, "worker", "--threads", "1"], {
      env: { ...process.env, REDIS_URL: this.url, LOG_LEVEL: "error", ...env },
      stdio: ["ignore", "inherit", "inherit", "ipc"],
    });
    const ended = once(child, "exit").then(([code, signal]) => (code ?? signal) as number | string);
    const [message] = (await Promise.race([
      once(child, "message"),
      ended.then((code) =>
        Promise.reject(new Error(`the worker ended with ${code} before it was ready`)),
      ),
    ])) as [{ url: string }];
    const worker = { child, url: message.url, ended };
    this.#workers.push(worker);
    return worker;
  }

  async killWorkers(): Promise<void> {
    for (const { child } of this.#workers) child.kill("SIGKILL");
    await Promise.all(this.#workers.splice(0).map(({ ended }) => ended));
  }

  async stop(): Promise<void> {
    await Promise.all(this.#clients.map((client) => client.close()));
    await this.killWorkers();
    this.redis.disconnect();
    await this.redisServer.stop();
  }
}

/** The value of one series at a worker's /metrics, 0 if it is not there. */
export async function metric(worker: WorkerProcess, series: string): Promise<number> {
  const text = await (await fetch(`${worker.url}/metrics`)).text();
  const line = text.split("\n").find((candidate) => candidate.startsWith(`${series} `));
  return line === undefined ? 0 : Number(line.slice(series.length + 1));
}

/**
 * Stops a worker that has a job in hand: what is queued from now on waits. One that sleeps would still be handed
 * the next job.
 */
export async function stopBusy(
  { child }: WorkerProcess,
  client: RerankClient,
  model = "box",
): Promise<void> {
  child.kill("SIGSTOP");
  await client.enqueue({ query: "in hand", documents: ["of a worker that was stopped"], model });
}
