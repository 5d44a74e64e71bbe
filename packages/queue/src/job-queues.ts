import { Queue } from "bullmq";
import type { Redis } from "ioredis";
import { partIds, type Keys } from "./contract/index.ts";
import { PartStore } from "./part-store.ts";

/** The BullMQ queues of models, and where in them a job stands. */
export class JobQueues {
  readonly #redis: Redis;
  readonly #keys: Keys;
  readonly #parts: PartStore;
  readonly #queues = new Map<string, Queue>();

  constructor(redis: Redis, keys: Keys) {
    this.#redis = redis;
    this.#keys = keys;
    this.#parts = new PartStore(redis, keys);
  }

  /**
   * Where the queues have the job; `unknown` if they have forgotten it. A cascade's stages are asked in
   * their order: a job stands in the next queue before the last one lets go of it.
   */
  async state(models: readonly string[], jobId: string): Promise<QueueState> {
    let ended: QueueState = "unknown";
    for (const model of models) {
      const parts = await this.#parts.find(model, jobId);
      const ids = parts === undefined ? [jobId] : partIds(jobId, parts.of);
      for (const id of ids) {
        for (const queue of await this.having(model, id)) {
          const state = await queue.getJobState(id);
          if (state === "completed" || state === "failed") ended = state;
          else if (state !== "unknown") return state === "active" ? "active" : "waiting";
        }
      }
    }
    return ended;
  }

  /** Takes a job that waits out of its queue. One that is being scored stays; its result is refused. */
  async remove(models: readonly string[], jobId: string): Promise<void> {
    for (const model of models) {
      const parts = await this.#parts.find(model, jobId);
      const ids = partIds(jobId, parts?.of ?? 0);
      await Promise.all(
        [jobId, ...ids].map(async (id) => {
          const queues = await this.having(model, id);
          await Promise.all(queues.map((queue) => queue.remove(id)));
        }),
      );
      await this.#parts.forget(model, jobId);
    }
  }

  /** Jobs of a model by state. */
  async counts(
    model: string,
  ): Promise<Record<"waiting" | "active" | "delayed" | "failed", number>> {
    const sum = { waiting: 0, active: 0, delayed: 0, failed: 0 };
    for (const queue of this.of([model])) {
      const counts = await queue.getJobCounts("wait", "prioritized", "active", "delayed", "failed");
      sum.waiting += (counts["wait"] ?? 0) + (counts["prioritized"] ?? 0);
      sum.active += counts["active"] ?? 0;
      sum.delayed += counts["delayed"] ?? 0;
      sum.failed += counts["failed"] ?? 0;
    }
    return sum;
  }

  /**
   * Those of a model's queues that have something under this id. Anybody may ask for the jobs of any model: BullMQ writes
   * down a queue as soon as it is opened, and what is opened here stays open.
   */
  async having(model: string, id: string): Promise<Queue[]> {
    const { queues } = this.#keys.model(model);
    const counts = await Promise.all(
      queues.map((name) => this.#redis.exists(`${this.#keys.prefix}:${name}:${id}`)),
    );
    return queues.filter((_, i) => counts[i] === 1).map((name) => this.named(name));
  }

  of(models: readonly string[]): Queue[] {
    return models.flatMap((model) =>
      this.#keys.model(model).queues.map((name) => this.named(name)),
    );
  }

  named(name: string): Queue {
    const known = this.#queues.get(name);
    if (known !== undefined) return known;
    const queue = new Queue(name, {
      connection: this.#redis,
      prefix: this.#keys.prefix,
      // Four events a job; nobody here reads them, dashboards want the latest.
      streams: { events: { maxLen: 1000 } },
    });
    queue.on("error", () => {}); // Each command reports its own failure.
    this.#queues.set(name, queue);
    return queue;
  }

  async close(): Promise<void> {
    await Promise.all([...this.#queues.values()].map((queue) => queue.close()));
  }
}

export type QueueState = "waiting" | "active" | "completed" | "failed" | "unknown";
