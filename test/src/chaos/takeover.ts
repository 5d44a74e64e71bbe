import { setTimeout as sleep } from "node:timers/promises";
import { keysFor } from "@rankfleet/queue/contract";
import type { Redis } from "ioredis";
import { MODEL } from "./world.ts";

const keys = keysFor().model(MODEL);

/**
 * How long what a dead worker had in hand lies there, job by job: from its death until another worker holds
 * the job's lock, or its record is written. A job is the dead one's if its lock went away without a record.
 */
export class TakeoverWatch {
  readonly #redis: Redis;
  readonly #seconds: number[] = [];
  readonly #watching = new Set<Promise<void>>();

  constructor(redis: Redis) {
    this.#redis = redis;
  }

  /** To be called right after a death. */
  async begin(): Promise<void> {
    const diedAt = performance.now();
    const all = await this.#redis.lrange(`rankfleet:${keys.queue("bulk")}:active`, 0, -1);
    const locks = await this.#locks(all);
    const jobs = new Map(all.map((job, i) => [job, { lock: locks[i]!, wasFree: false }]));
    const watch = this.#watch(jobs, diedAt);
    this.#watching.add(watch);
    void watch.finally(() => this.#watching.delete(watch));
  }

  /** Of all jobs that were taken over; null if there was none. */
  async medianSeconds(): Promise<number | null> {
    await Promise.all(this.#watching);
    const sorted = this.#seconds.toSorted((a, b) => a - b);
    return sorted[Math.floor(sorted.length / 2)] ?? null;
  }

  get count(): number {
    return this.#seconds.length;
  }

  async #watch(
    jobs: Map<string, { readonly lock: string | null; wasFree: boolean }>,
    diedAt: number,
  ): Promise<void> {
    while (jobs.size > 0 && performance.now() - diedAt < LONGEST_MS) {
      const ids = [...jobs.keys()];
      const [locks, records] = await Promise.all([
        this.#locks(ids),
        Promise.all(ids.map((id) => this.#redis.exists(keys.result(id)))),
      ]);
      for (const [i, id] of ids.entries()) {
        const job = jobs.get(id)!;
        const isTaken = locks[i] !== null && locks[i] !== job.lock;
        if (isTaken || (records[i] === 1 && job.wasFree)) {
          this.#seconds.push((performance.now() - diedAt) / 1000);
          jobs.delete(id);
        } else if (records[i] === 1) {
          jobs.delete(id); // A living worker's.
        } else if (locks[i] === null) {
          job.wasFree = true;
        }
      }
      await sleep(100);
    }
    // What nobody has taken by now counts as the longest wait.
    for (const _ of jobs) this.#seconds.push(LONGEST_MS / 1000);
  }

  #locks(ids: readonly string[]): Promise<(string | null)[]> {
    return Promise.all(ids.map((id) => this.#redis.get(keys.lock(keys.queue("bulk"), id))));
  }
}

const LONGEST_MS = 60_000;
