import type { ChildProcess } from "node:child_process";
import { startLocalRedis, type LocalRedis } from "@rankfleet/local-redis";
import { NODE_FLAGS } from "@rankfleet/worker";
import { RerankClient, type RerankManyOptions } from "@rankfleet/sdk";
import { endChild, startChild } from "./child.ts";
import type { Request } from "./workloads.ts";

export interface FleetOptions {
  /** The models' names and folders, as RANKFLEET_MODEL takes them. */
  readonly models: string;
  /** The model that requests ask for. */
  readonly model: string;
  readonly workers: number;
  /** Inference threads of each worker. */
  readonly threads: number;
  readonly env?: Readonly<Record<string, string>>;
}

interface WorkerProcess {
  readonly child: ChildProcess;
  readonly url: string;
}

/** The whole path: this process → Redis with AOF → worker processes → results read here. */
export class FleetRun {
  readonly redis: LocalRedis;
  readonly client: RerankClient;
  readonly #workers: readonly WorkerProcess[];

  private constructor(redis: LocalRedis, workers: readonly WorkerProcess[], model: string) {
    this.redis = redis;
    this.#workers = workers;
    this.client = new RerankClient({ redis: redis.url, model, warnAboveDocuments: Infinity });
  }

  static async start(options: FleetOptions): Promise<FleetRun> {
    const redis = await startLocalRedis();
    const entry = new URL("main.js", import.meta.resolve("@rankfleet/worker"));
    const env = {
      REDIS_URL: redis.url,
      RANKFLEET_MODEL: options.models,
      RANKFLEET_DEVICE: "cpu",
      RANKFLEET_THREADS: String(options.threads),
      // No round may profit from the one before it; the suite `repeat` turns it on.
      RANKFLEET_SCORE_CACHE_PAIRS: "0",
      LOG_LEVEL: "warn",
      ...options.env,
    };
    const workers = await Promise.all(
      Array.from({ length: options.workers }, async () => {
        const { child, message } = await startChild([...NODE_FLAGS, entry.pathname], env);
        return { child, url: (message as { url: string }).url };
      }),
    );
    return new FleetRun(redis, workers, options.model);
  }

  /** Process ids of the workers. */
  get pids(): number[] {
    return this.#workers.map(({ child }) => child.pid!);
  }

  /** Seconds from the first request to the last result. */
  async run(
    requests: Iterable<Request> | AsyncIterable<Request>,
    options: RerankManyOptions = {},
  ): Promise<number> {
    const start = performance.now();
    for await (const { error } of this.client.rerankMany(requests, options)) {
      if (error !== undefined) throw error;
    }
    return (performance.now() - start) / 1000;
  }

  /**
   * Requests a second between the first tenth of the results and the last: while all workers have work. A round's end
   * is nobody's speed: who has a third of a second of work in hand works, the others stand idle.
   */
  async steadyRate(
    requests: Iterable<Request>,
    count: number,
    options: RerankManyOptions,
  ): Promise<number> {
    const [first, last] = [Math.floor(count / 10), Math.floor((9 * count) / 10)];
    let [done, startedAt, endedAt] = [0, 0, 0];
    for await (const { error } of this.client.rerankMany(requests, options)) {
      if (error !== undefined) throw error;
      done++;
      if (done === first) startedAt = performance.now();
      if (done === last) endedAt = performance.now();
    }
    return (1000 * (last - first)) / (endedAt - startedAt);
  }

  /** The sum over all workers of the metrics' series whose text begins so. */
  async metric(series: string): Promise<number> {
    const pages = await Promise.all(
      this.#workers.map(async ({ url }) => (await fetch(`${url}/metrics`)).text()),
    );
    return pages
      .flatMap((page) => page.split("\n"))
      .filter((line) => line.startsWith(series))
      .reduce((sum, line) => sum + Number(line.slice(line.lastIndexOf(" ") + 1)), 0);
  }

  async stop(): Promise<void> {
    await this.client.close();
    await Promise.all(this.#workers.map(({ child }) => endChild(child)));
    await this.redis.stop();
  }
}
