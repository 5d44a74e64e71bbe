import { setTimeout as sleep } from "node:timers/promises";
import { Worker, type Job } from "bullmq";

/**
 * A BullMQ worker that begins each job as soon as it has it, and lets a lone one begin in peace.
 *
 * BullMQ's loop, after a wait that brought nothing, takes as many jobs as may be in hand before it begins the first of
 * them. And when it has got one it asks for the next up to four times in a row, which keeps this thread and
 * Redis busy just when the only job there is, is tokenised and begun.
 */
export class PromptWorker extends Worker {
  #inHand = 0;
  #hasOneToBegin = false;
  #peace: Promise<void> | undefined;
  #endPeace = new AbortController();

  protected override async moveToActive(token: string, name?: string): Promise<Job> {
    if (this.#hasOneToBegin) {
      // Hearing that there are no more, the loop begins what it has; then it asks again.
      this.#hasOneToBegin = false;
      return NO_JOB;
    }
    await this.#peace;
    const job = await super.moveToActive(token, name);
    if (job === NO_JOB) return NO_JOB;
    this.#hasOneToBegin = true;
    if (this.#inHand === 0) {
      this.#endPeace = new AbortController();
      const { signal } = this.#endPeace;
      this.#peace = sleep(PEACE_MS, undefined, { signal }).catch(() => {});
    }
    return job;
  }

  override async processJob(...job: Parameters<Worker["processJob"]>): Promise<void | Job> {
    this.#hasOneToBegin = false;
    this.#inHand++;
    try {
      return await super.processJob(...job);
    } finally {
      this.#inHand--;
      this.#endPeace.abort();
    }
  }
}

/** BullMQ's type leaves out that there may be none. */
const NO_JOB = undefined as unknown as Job;

/** A small job is tokenised in a millisecond; the others of a burst must not wait for long. */
const PEACE_MS = 5;
