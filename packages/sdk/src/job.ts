import { setTimeout as sleep } from "node:timers/promises";
import { onAbort } from "@rankfleet/queue";
import {
  DeadlineExceededError,
  formatJobId,
  PROTOCOL_VERSION,
  type ResultRecord,
} from "@rankfleet/queue/contract";
import { endJob } from "./end-job.ts";
import type { WaitOptions } from "./options.ts";
import { toResult, type RerankResult } from "./result.ts";
import { MAX_TIMER_MS } from "./patience.ts";
import type { Session } from "./session.ts";

/** `waiting` in the queue, `active` in a worker's hand, ended, or `unknown` to queue and store. */
export type JobStatus = "waiting" | "active" | "completed" | "failed" | "cancelled" | "unknown";

/** A job that was accepted: it is in Redis, and will be scored whatever becomes of this process. */
export class JobHandle {
  /** Good for `client.job(id)` in any process. */
  readonly id: string;
  readonly #jobId: string;
  /** Its model, or those of its cascade in order. */
  readonly #models: readonly string[];
  readonly #session: () => Promise<Session>;
  readonly #deadlineMs: number | undefined;
  /** Whether this call made the job, not an earlier one under the same idempotency key. False from `client.job(id)`. */
  readonly isOwn: boolean;
  #isNew: boolean;

  /** @param job.isNew It was enqueued while its session listened, so no record from before has to be looked up. */
  constructor(
    session: () => Promise<Session>,
    job: {
      jobId: string;
      models: readonly string[];
      deadlineMs?: number | undefined;
      isNew?: boolean;
      isOwn?: boolean;
    },
  ) {
    this.id = formatJobId(job.jobId, job.models);
    this.#jobId = job.jobId;
    this.#models = job.models;
    this.#deadlineMs = job.deadlineMs;
    this.#session = session;
    this.#isNew = job.isNew === true;
    this.isOwn = job.isOwn === true;
  }

  /**
   * Waits for the job to end.
   *
   * @param options.signal Ends this wait, not the job.
   * @throws JobFailedError, InvalidRequestError, DeadlineExceededError or JobCancelledError for how it
   *   ended; JobNotFoundError if neither queue nor store knows it; the signal's reason; RedisUnavailableError;
   *   ClientClosedError.
   */
  async result({ signal }: WaitOptions = {}): Promise<RerankResult> {
    const session = await this.#session();
    const deadline = this.#deadline(signal);
    try {
      const pending = session.waiter.wait(this.#models, this.#jobId, deadline?.signal ?? signal);
      if (!this.#isNew || session.waiter.hasMissed(this.#jobId)) {
        const looked = session.waiter.check(this.#jobId);
        // A result that is there already is had also after the deadline.
        void Promise.race([looked, moment()]).then(() => deadline?.start());
      } else deadline?.start();
      this.#isNew = false;
      return toResult(this.id, await pending);
    } catch (error) {
      // A caller that met the job under its key stops waiting; whoever made it may still want the result.
      if (this.isOwn && deadline !== undefined && error === deadline.error) {
        const failure = deadline.error.toFailure();
        const record = { v: PROTOCOL_VERSION, state: "failed", failure } as const;
        // The caller hears at once, also while Redis is away.
        const ending = this.#end(session, record).catch(() => {});
        await Promise.race([ending, moment()]);
      }
      throw error;
    } finally {
      deadline?.clear();
    }
  }

  /**
   * Where the job stands; `unknown` if neither queue nor store has heard of it.
   *
   * @throws RedisUnavailableError; ClientClosedError.
   */
  async status(): Promise<JobStatus> {
    const session = await this.#session();
    const read = async (): Promise<JobStatus> => {
      const record = await session.store.read(this.#home, this.#jobId);
      return record?.state ?? (await session.queues.state(this.#models, this.#jobId));
    };
    return session.whileOpen(read());
  }

  /**
   * Ends the job, from any process: whoever waits for it gets a JobCancelledError, a worker that has it in
   * hand drops it and can no longer write a result, and its texts are freed.
   *
   * @returns false if it had ended already.
   * @throws RedisUnavailableError; ClientClosedError.
   */
  async cancel(): Promise<boolean> {
    const session = await this.#session();
    return session.whileOpen(this.#end(session, { v: PROTOCOL_VERSION, state: "cancelled" }));
  }

  #end(session: Session, record: ResultRecord): Promise<boolean> {
    return endJob(session, { jobId: this.#jobId, models: this.#models }, record);
  }

  get #home(): string {
    return this.#models.at(-1)!;
  }

  /**
   * Aborts at the deadline, between `start()` and `clear()`, or with the caller's signal. Not made with `AbortSignal.any`,
   * of which something stays in a signal that lives on, such as a stream's (Node 20: 60 bytes each).
   */
  #deadline(caller: AbortSignal | undefined): Deadline | undefined {
    const deadlineMs = this.#deadlineMs;
    if (deadlineMs === undefined) return undefined;
    caller?.throwIfAborted();
    const controller = new AbortController();
    const stopListening = caller && onAbort(caller, () => controller.abort(caller.reason));
    const error = new DeadlineExceededError(
      "deadline_exceeded",
      `job ${this.id} did not end by its deadline`,
      {
        field: "deadline",
      },
    );
    let timer: NodeJS.Timeout | undefined;
    let isOver = false;
    const start = (): void => {
      const delay = Math.max(0, deadlineMs - Date.now());
      // Later deadlines are left to the worker.
      if (isOver || delay > MAX_TIMER_MS) return;
      timer = setTimeout(() => controller.abort(error), delay);
    };
    const clear = (): void => {
      isOver = true;
      clearTimeout(timer);
      stopListening?.();
    };
    return { signal: controller.signal, error, start, clear };
  }
}

interface Deadline {
  readonly signal: AbortSignal;
  /** What it aborts with. */
  readonly error: DeadlineExceededError;
  start(): void;
  clear(): void;
}

/** The most that a caller waits for a Redis that may be away. */
const moment = (): Promise<void> => sleep(1_000, undefined, { ref: false });
