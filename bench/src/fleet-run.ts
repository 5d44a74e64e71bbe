import { spawn, type ChildProcess } from "node:child_process";
import { startLocalRedis, type LocalRedis } from "@rankfleet/local-redis";
import { RerankClient } from "@rankfleet/sdk";
import type { Request } from "./workload.ts";

/** The whole path: this process → Redis with AOF → worker processes → results read here. */
export class FleetRun {
  readonly #redis: LocalRedis;
  readonly #workers: readonly ChildProcess[];
  readonly #client: RerankClient;

  private constructor(redis: LocalRedis, workers: readonly ChildProcess[]) {
    this.#redis = redis;
    this.#workers = workers;
    this.#client = new RerankClient({ redis: redis.url });
  }

  /** @param workers Worker processes of one inference thread each. */
  static async start(folder: string, workers: number): Promise<FleetRun> {
    const redis = await startLocalRedis();
    const entry = new URL("main.js", import.meta.resolve("@rankfleet/worker"));
    const env = {
      ...process.env,
      REDIS_URL: redis.url,
      RANKFLEET_MODEL: `box=${folder}`,
      RANKFLEET_DEVICE: "cpu",
      RANKFLEET_THREADS: "1",
      LOG_LEVEL: "warn",
    };
    const started = Array.from({ length: workers }, () =>
      spawn(process.execPath, [entry.pathname], {
        env,
        stdio: ["ignore", "inherit", "inherit", "ipc"],
      }),
    );
    await Promise.all(
      started.map((child) => new Promise((resolve) => child.once("message", resolve))),
    );
    return new FleetRun(redis, started);
  }

  /** Seconds from the first request to the last result. */
  async run(requests: readonly Request[]): Promise<number> {
    const start = performance.now();
    for await (const { error } of this.#client.rerankMany(requests)) {
      if (error !== undefined) throw error;
    }
    return (performance.now() - start) / 1000;
  }

  async stop(): Promise<void> {
    await this.#client.close();
    const exited = this.#workers.map(
      (worker) => new Promise((resolve) => worker.once("exit", resolve)),
    );
    for (const worker of this.#workers) worker.kill("SIGTERM");
    await Promise.all(exited);
    await this.#redis.stop();
  }
}
