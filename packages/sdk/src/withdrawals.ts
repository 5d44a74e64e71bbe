import { setTimeout as sleep } from "node:timers/promises";
import { RankfleetError } from "@rankfleet/queue/contract";
import { JobHandle } from "./job.ts";
import type { Session } from "./session.ts";

/**
 * Takes back what became of requests whose `enqueue` failed because Redis went away. Such a job may be counted in, or queued
 * in whole or in part, under an id that nobody was told: it would be computed for nobody, or count as queued until a
 * worker's sweep finds it, minutes later. (Under an idempotency key the caller's repeat is the same job, and is left alone.)
 */
export class Withdrawals {
  readonly #session: () => Promise<Session>;
  readonly #jobs = new Set<UnknownJob>();
  #isAtWork = false;

  constructor(session: () => Promise<Session>) {
    this.#session = session;
  }

  /**
   * Withdraws the job if `adding` it has failed for want of Redis.
   *
   * @param job.models Of its stages, in order.
   */
  unlessAdded(adding: Promise<unknown> | undefined, job: UnknownJob): void {
    adding?.catch((error: unknown) => {
      const isUnclear = RankfleetError.isInstance(error) && error.code === "redis_unavailable";
      if (isUnclear) this.#withdraw(job);
    });
  }

  #withdraw(job: UnknownJob): void {
    if (this.#jobs.size >= MOST_JOBS) return; // The sweep finds the rest.
    this.#jobs.add(job);
    if (this.#isAtWork) return;
    this.#isAtWork = true;
    this.#work()
      .catch(() => {}) // The client is closed.
      .finally(() => (this.#isAtWork = false));
  }

  async #work(): Promise<void> {
    while (this.#jobs.size > 0) {
      // First what was on its way must have arrived, or be lost.
      await sleep(AGAIN_MS, undefined, { ref: false });
      const session = await this.#session();
      try {
        for (const job of this.#jobs) {
          const { jobId, models } = job;
          const isCounted = await session.whileOpen(session.backlog.has(models[0]!, jobId));
          if (isCounted) await new JobHandle(async () => session, job).cancel();
          this.#jobs.delete(job);
        }
      } catch {
        // Redis is away still, or again.
      }
    }
  }
}

interface UnknownJob {
  readonly jobId: string;
  readonly models: readonly string[];
}

const AGAIN_MS = 1_000;
/** Their ids take some 20 MB. */
const MOST_JOBS = 100_000;
