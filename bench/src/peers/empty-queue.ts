import type { ChildProcess } from "node:child_process";
import { startLocalRedis, type LocalRedis } from "@rankfleet/local-redis";
import { Queue } from "bullmq";
import { Redis } from "ioredis";
import { endChild, startChild } from "../child.ts";
import type { Request } from "../workloads.ts";

export const EMPTY_QUEUE = "empty";
export const emptyChannel = "empty:done";

/**
 * The least that a BullMQ queue adds on this machine: a job with the request's texts, taken by a worker
 * process that at once publishes its id. Nothing is parsed, admitted, tokenised, scored or stored.
 */
export class EmptyQueue {
  readonly #redis: LocalRedis;
  readonly #child: ChildProcess;
  readonly #producer: Redis;
  readonly #subscriber: Redis;
  readonly #queue: Queue;
  readonly #waiting = new Map<string, () => void>();
  #jobs = 0;

  private constructor(redis: LocalRedis, child: ChildProcess) {
    this.#redis = redis;
    this.#child = child;
    this.#producer = new Redis(redis.url, { maxRetriesPerRequest: null });
    this.#subscriber = new Redis(redis.url, { maxRetriesPerRequest: null });
    this.#queue = new Queue(EMPTY_QUEUE, { connection: this.#producer });
  }

  static async start(): Promise<EmptyQueue> {
    const redis = await startLocalRedis();
    const entry = new URL("empty-worker.js", import.meta.url);
    const { child } = await startChild([entry.pathname, redis.url]);
    const queue = new EmptyQueue(redis, child);
    queue.#subscriber.on("message", (_channel: string, id: string) => queue.#waiting.get(id)?.());
    await queue.#subscriber.subscribe(emptyChannel);
    return queue;
  }

  /** Milliseconds until the worker's news of one job is here. */
  async run(request: Request): Promise<number> {
    const start = performance.now();
    const jobId = `job-${this.#jobs++}`;
    const done = new Promise<void>((resolve) => this.#waiting.set(jobId, resolve));
    await this.#queue.add("rerank", request, { jobId, removeOnComplete: true });
    await done;
    this.#waiting.delete(jobId);
    return performance.now() - start;
  }

  async stop(): Promise<void> {
    await endChild(this.#child);
    await this.#queue.close();
    this.#producer.disconnect();
    this.#subscriber.disconnect();
    await this.#redis.stop();
  }
}
