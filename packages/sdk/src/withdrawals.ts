import { setTimeout as sleep } from "node:timers/promises";
import { PROTOCOL_VERSION } from "@rankfleet/queue/contract";
import { endJob } from "./end-job.ts";
import type { Session } from "./session.ts";

/**
 * Takes back what became of requests whose `enqueue` failed while Redis may have taken some of it. Such a job may be counted
 * in, or queued in whole or in part, under an id that nobody was told: it would be computed for nobody, or count as queued
 * until a worker's sweep finds it, minutes later. (Under an idempotency key the caller's repeat is the same job, and is
 * left alone.)
 */
export class Withdrawals {
  readonly #session: () => Promise<Session>;
  readonly #jobs = new Set<UnknownJob>();
  #isAtWork = false;

  constructor(session: () => Promise<Session>) {
    this.#session = session;
  }

  /** @param job.models Of its stages, in order. */
  withdraw(job: { readonly jobId: string; readonly models: readonly string[] }): void {
    if (this.#jobs.size >= MOST_JOBS) return; // The sweep finds the rest.
    this.#jobs.add({ ...job, isBegun: false });
    if (this.#isAtWork) return;
    this.#isAtWork = true;
    this.#work().catch(() => {}); // The client is closed.
  }

  async #work(): Promise<void> {
    try {
      while (this.#jobs.size > 0) {
        // First what was on its way must have arrived, or be lost.
        await sleep(AGAIN_MS, undefined, { ref: false });
        const session = await this.#session();
        try {
          for (const job of this.#jobs) {
            await session.whileOpen(takeBack(session, job));
            this.#jobs.delete(job);
          }
        } catch {
          // Redis is away still, or again.
        }
      }
    } finally {
      this.#isAtWork = false;
    }
  }
}

/** A cascade may have come to any of its stages meanwhile. */
async function takeBack(session: Session, job: UnknownJob): Promise<void> {
  const counted = await Promise.all(
    job.models.map((model) => session.backlog.has(model, job.jobId)),
  );
  if (!job.isBegun && !counted.includes(true)) return;
  const isAgain = job.isBegun;
  job.isBegun = true;
  await endJob(session, job, { v: PROTOCOL_VERSION, state: "cancelled" }, { isAgain });
}

interface UnknownJob {
  readonly jobId: string;
  readonly models: readonly string[];
  /** Its record may be written, and with that it is no longer counted. */
  isBegun: boolean;
}

const AGAIN_MS = 1_000;
/** Their ids take some 20 MB. */
const MOST_JOBS = 100_000;
