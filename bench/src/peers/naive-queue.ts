import type { ChildProcess } from "node:child_process";
import { startLocalRedis, type LocalRedis } from "@rankfleet/local-redis";
import { Queue, QueueEvents } from "bullmq";
import { Redis } from "ioredis";
import { endChild, startChild } from "../child.ts";
import type { Request } from "../workloads.ts";
import type { PeerModel } from "./transformers-js.ts";

/** What people write today: one BullMQ job for each request, one padded batch for each job. */
export class NaiveQueue {
  readonly #redis: LocalRedis;
  readonly #child: ChildProcess;
  readonly #connections: readonly Redis[];
  readonly #queue: Queue;
  readonly #events: QueueEvents;

  private constructor(redis: LocalRedis, child: ChildProcess) {
    this.#redis = redis;
    this.#child = child;
    const connect = (): Redis => new Redis(redis.url, { maxRetriesPerRequest: null });
    this.#connections = [connect(), connect()];
    this.#queue = new Queue("naive", { connection: this.#connections[0]! });
    this.#queue.setMaxListeners(0); // Each job that is waited for listens.
    this.#events = new QueueEvents("naive", { connection: this.#connections[1]! });
  }

  static async start(model: PeerModel): Promise<NaiveQueue> {
    const redis = await startLocalRedis();
    const entry = new URL("naive-worker.js", import.meta.url);
    const { child } = await startChild([entry.pathname, JSON.stringify({ url: redis.url, model })]);
    const queue = new NaiveQueue(redis, child);
    await queue.#events.waitUntilReady();
    return queue;
  }

  get pid(): number | undefined {
    return this.#child.pid;
  }

  /** Seconds from the first request to the last result. */
  async run(requests: readonly Request[]): Promise<number> {
    const start = performance.now();
    // Kept for a while: `waitUntilFinished` fails for a job that has ended and is gone.
    const options = { removeOnComplete: { age: 3600 } };
    const jobs = await this.#queue.addBulk(
      requests.map((data) => ({ name: "rerank", data, opts: options })),
    );
    await Promise.all(jobs.map((job) => job.waitUntilFinished(this.#events)));
    return (performance.now() - start) / 1000;
  }

  async stop(): Promise<void> {
    await endChild(this.#child);
    await this.#events.close();
    await this.#queue.close();
    for (const connection of this.#connections) connection.disconnect();
    await this.#redis.stop();
  }
}
