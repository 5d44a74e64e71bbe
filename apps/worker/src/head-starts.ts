/**
 * Jobs that are scored before the queue has handed them out, because their producer told this worker of them
 * (`HeadStart` in the queue). The queue hands each out all the same, here or to another worker: here the delivery waits
 * for what was begun, there it comes to the same scores, and the first record stands.
 */
export class HeadStarts {
  readonly #begun = new Map<string, Begun>();
  /** Of those begun, how many have not ended. */
  #underWay = 0;
  #isClosed = false;

  get underWay(): number {
    return this.#underWay;
  }

  /** @param attempt Resolves with whether the job has ended by it. If it fails, the delivery is to see to the job. */
  begin(jobId: string, attempt: (signal: AbortSignal) => Promise<boolean>): void {
    if (this.#isClosed || this.#begun.has(jobId)) return;
    const controller = new AbortController();
    const begun: Begun = {
      abort: (reason) => controller.abort(reason),
      hasEnded: attempt(controller.signal).catch(() => false),
    };
    this.#begun.set(jobId, begun);
    this.#underWay++;
    void begun.hasEnded.then((hasEnded) => {
      this.#underWay--;
      if (hasEnded) setTimeout(() => this.#begun.delete(jobId), REMEMBERED_MS).unref();
      else this.#begun.delete(jobId);
    });
  }

  /** Whether the job has ended by what was begun here; waits for it. An abort of the delivery ends that too. */
  async hasEnded(jobId: string, signal: AbortSignal | undefined): Promise<boolean> {
    const begun = this.#begun.get(jobId);
    if (begun === undefined) return false;
    const onAbort = (): void => begun.abort(signal?.reason);
    if (signal?.aborted === true) onAbort();
    signal?.addEventListener("abort", onAbort, { once: true });
    try {
      return await begun.hasEnded;
    } finally {
      signal?.removeEventListener("abort", onAbort);
    }
  }

  cancel(jobId: string, reason: string): void {
    this.#begun.get(jobId)?.abort(reason);
  }

  /** Begins no more, and waits for what was begun. */
  async close(): Promise<void> {
    this.#isClosed = true;
    await Promise.all([...this.#begun.values()].map(({ hasEnded }) => hasEnded));
  }
}

interface Begun {
  readonly hasEnded: Promise<boolean>;
  abort(reason: unknown): void;
}

/** The queue hands a job out within milliseconds, if a worker has a hand free. */
const REMEMBERED_MS = 10_000;
