import type { Redis } from "ioredis";
import { fromRedisError } from "./connection.ts";
import {
  ClientClosedError,
  JobFailedError,
  JobNotFoundError,
  parseResult,
  type Keys,
  type ResultRecord,
} from "./contract/index.ts";
import type { JobQueues } from "./job-queues.ts";
import { onAbort } from "./on-abort.ts";
import type { ResultStore } from "./result-store.ts";

/**
 * Waits for result records on a producer's behalf.
 *
 * Workers publish the end of a job, with its record, on this producer's channel: that is the fast way.
 * Correctness does not depend on it: every waiting job is also looked up every few seconds, so a lost
 * message, a lost connection, or a job of another producer only costs time.
 */
export class ResultWaiter {
  readonly #store: ResultStore;
  readonly #queues: JobQueues;
  readonly #channel: string;
  readonly #subscriber: Redis;
  /** By job. */
  readonly #waiting = new Map<string, Waiting[]>();
  /** Jobs that ended before anybody waited for them. */
  readonly #missed = new Set<string>();
  #hasLostCount = false;
  #hasStarted = false;
  #isListening = false;
  #isPolling = false;
  #pollTimer: NodeJS.Timeout | undefined;
  #isClosed = false;

  /** @param subscriber A connection of its own: it is in subscriber mode. */
  constructor(options: {
    store: ResultStore;
    queues: JobQueues;
    keys: Keys;
    producerId: string;
    subscriber: Redis;
  }) {
    this.#store = options.store;
    this.#queues = options.queues;
    this.#channel = options.keys.ended(options.producerId);
    this.#subscriber = options.subscriber;
  }

  /** Whether the end of a job that is enqueued from now on will be heard of. */
  get isListening(): boolean {
    return this.#isListening;
  }

  /** Whether a job that was enqueued while this listened ended before anybody waited for it. */
  hasMissed(jobId: string): boolean {
    return this.#missed.delete(jobId) || this.#hasLostCount;
  }

  /**
   * The job's record, as soon as there is one.
   *
   * @param models Its model, or those of its cascade in order: the record lies with the last.
   * @throws the signal's reason; ClientClosedError; JobNotFoundError if neither queue nor store knows
   *   the job; JobFailedError if the queue gave it up without a record.
   */
  wait(models: readonly string[], jobId: string, signal?: AbortSignal): Promise<ResultRecord> {
    if (this.#isClosed) return Promise.reject(closed());
    signal?.throwIfAborted();
    this.#start();
    return new Promise((resolve, reject) => {
      const waiting: Waiting = {
        models,
        jobId,
        since: Date.now(),
        askAgainAt: Date.now() + SUSPICIOUS_MS,
        resolve: (record) => this.#settle(waiting, () => resolve(record)),
        reject: (error) => this.#settle(waiting, () => reject(error)),
        stopListening:
          signal === undefined
            ? () => {}
            : onAbort(signal, () => this.#settle(waiting, () => reject(signal.reason))),
      };
      const others = this.#waiting.get(jobId);
      if (others === undefined) this.#waiting.set(jobId, [waiting]);
      else others.push(waiting);
    });
  }

  /** Models of which a job has been waited for so long. Not of cascades: they may stand in any stage's queue. */
  modelsWaitedFor(minAgeMs: number): Set<string> {
    const due = Date.now() - minAgeMs;
    const models = new Set<string>();
    for (const [first] of this.#waiting.values()) {
      if (first!.since <= due && first!.models.length === 1) models.add(first!.models[0]!);
    }
    return models;
  }

  /** Looks a job up right now, for one that may have ended before anybody waited. */
  async check(jobId: string): Promise<void> {
    const homes = new Set((this.#waiting.get(jobId) ?? []).map(homeOf));
    await Promise.all([...homes].map((home) => this.#checkAt(home, jobId)));
  }

  async #checkAt(home: string, jobId: string): Promise<void> {
    const isThere = (each: Waiting): boolean => homeOf(each) === home;
    try {
      const record = await this.#store.read(home, jobId);
      if (record !== undefined) this.#each(jobId, (each) => each.resolve(record), isThere);
    } catch (error) {
      this.#each(jobId, (each) => each.reject(fromRedisError(error)), isThere);
    }
  }

  /** Everybody who still waits gets a ClientClosedError. */
  close(): void {
    this.#isClosed = true;
    clearInterval(this.#pollTimer);
    for (const jobId of this.#waiting.keys()) this.#each(jobId, (each) => each.reject(closed()));
    this.#subscriber.disconnect();
  }

  #start(): void {
    if (this.#hasStarted) return;
    this.#hasStarted = true;
    this.#subscriber.on("message", (_channel: string, news: string) => this.#hear(news));
    // What was published while the connection was lost is gone: look at once.
    this.#subscriber.on("ready", () => void this.#poll(0));
    // ioredis subscribes again after each reconnection.
    this.#subscriber.subscribe(this.#channel).then(
      () => (this.#isListening = true),
      () => {}, // Closed meanwhile.
    );
    this.#pollTimer = setInterval(() => void this.#poll(POLL_MS), POLL_MS);
  }

  /** @param news `<job>`, or `<job> <record>`. */
  #hear(news: string): void {
    const space = news.indexOf(" ");
    const jobId = space < 0 ? news : news.slice(0, space);
    const waiting = this.#waiting.get(jobId);
    if (waiting === undefined) {
      if (this.#missed.size < MOST_MISSED) this.#missed.add(jobId);
      else this.#hasLostCount = true;
      return;
    }
    if (space < 0) return void this.check(jobId);
    const record = readNews(news.slice(space + 1));
    const isOneHome = waiting.every((each) => homeOf(each) === homeOf(waiting[0]!));
    if (record === undefined || !isOneHome) return void this.check(jobId);
    this.#each(jobId, (each) => each.resolve(record));
  }

  /** @param minAgeMs Of the jobs to look up. */
  async #poll(minAgeMs: number): Promise<void> {
    // With many jobs and a Redis that is far away one round may take longer than until the next.
    if (this.#isPolling) return;
    this.#isPolling = true;
    const due = Date.now() - minAgeMs;
    const jobs = [...this.#waiting.values()]
      .flatMap((all) => (all.length === 1 ? all : firstOfEach(all)))
      .filter(({ since }) => since <= due);
    for (let i = 0; i < jobs.length; i += POLL_CHUNK) {
      await Promise.all(jobs.slice(i, i + POLL_CHUNK).map((job) => this.#pollOne(job)));
    }
    this.#isPolling = false;
  }

  async #pollOne(waiting: Waiting): Promise<void> {
    const { models, jobId, since } = waiting;
    await this.check(jobId);
    const now = Date.now();
    if (this.#waiting.get(jobId)?.includes(waiting) !== true || now < waiting.askAgainAt) return;
    // The longer it waits, the more rarely: three scripts each time add up for thousands of jobs in a long queue.
    waiting.askAgainAt = now + Math.min(MOST_RARELY_MS, (now - since) / 2);
    try {
      const state = await this.#queues.state(models, jobId);
      if (state === "waiting" || state === "active") return;
      // The record is written before the queue lets go of the job, so now it must be there.
      await this.check(jobId);
      const gone =
        state === "failed"
          ? new JobFailedError("worker_failed", `job ${jobId} was given up by the queue`)
          : new JobNotFoundError(
              "job_not_found",
              `neither a job nor a result is known by ${jobId}; results are kept for a day`,
            );
      this.#each(
        jobId,
        (each) => each.reject(gone),
        (each) => namesOf(each) === namesOf(waiting),
      );
    } catch {
      // Redis is away: the next poll sees.
    }
  }

  #each(
    jobId: string,
    settle: (waiting: Waiting) => void,
    isMeant: (waiting: Waiting) => boolean = () => true,
  ): void {
    // A list of its own: who is settled leaves the other.
    for (const waiting of (this.#waiting.get(jobId) ?? []).filter(isMeant)) settle(waiting);
  }

  #settle(waiting: Waiting, settle: () => void): void {
    waiting.stopListening();
    const all = this.#waiting.get(waiting.jobId) ?? [];
    // Emptied, not replaced: what a Map has once held may stay in memory for long (see `onAbort`).
    if (all.includes(waiting)) all.splice(all.indexOf(waiting), 1);
    if (all.length === 0) this.#waiting.delete(waiting.jobId);
    settle();
  }
}

interface Waiting {
  readonly models: readonly string[];
  readonly jobId: string;
  readonly since: number;
  /** When the queue is to be asked whether it still knows the job. */
  askAgainAt: number;
  resolve(record: ResultRecord): void;
  reject(error: unknown): void;
  stopListening(): void;
}

/** Where its record will lie. */
function homeOf({ models }: Waiting): string {
  return models.at(-1)!;
}

function namesOf({ models }: Waiting): string {
  return models.join(">");
}

/** Ids come from anywhere: one that names another model must not end the wait of those that name the right one. */
function firstOfEach(all: readonly Waiting[]): Waiting[] {
  const first = new Map<string, Waiting>();
  for (const each of all) if (!first.has(namesOf(each))) first.set(namesOf(each), each);
  return [...first.values()];
}

const POLL_MS = 2_000;
const POLL_CHUNK = 100;
/** With more unread ends than this, what was missed cannot be told any more: everything is looked up then. */
const MOST_MISSED = 100_000;
/** A job this old without a record is looked for in the queue too. */
const SUSPICIOUS_MS = 4_000;
const MOST_RARELY_MS = 60_000;

/** Undefined if it is no record: then the store says why. */
function readNews(json: string): ResultRecord | undefined {
  try {
    return parseResult(json);
  } catch {
    return undefined;
  }
}

function closed(): ClientClosedError {
  return new ClientClosedError(
    "client_closed",
    "the client was closed while this job was under way; its result can still be had by its id",
  );
}
