import { setTimeout as sleep } from "node:timers/promises";
import type { Job } from "bullmq";
import type { Redis } from "ioredis";
import {
  BackpressureError,
  homeOf,
  idempotencyConflict,
  parseResult,
  partId,
  type JobEnvelope,
  type Keys,
  type ResultRecord,
} from "./contract/index.ts";
import type { JobQueues } from "./job-queues.ts";
import { PartStore } from "./part-store.ts";

/** Tells whether a request under an idempotency key has been made before. */
export class Repeats {
  readonly #redis: Redis;
  readonly #keys: Keys;
  readonly #queues: JobQueues;
  readonly #parts: PartStore;

  constructor(redis: Redis, keys: Keys, queues: JobQueues) {
    this.#redis = redis;
    this.#keys = keys;
    this.#queues = queues;
    this.#parts = new PartStore(redis, keys);
  }

  /** Whether the id's job or result is already there, for this very request, which would have so many parts. */
  async isRepeat(
    jobId: string,
    envelope: Omit<JobEnvelope, "payload">,
    partCount: number,
  ): Promise<boolean> {
    const { model, digest, cascade } = envelope;
    const models = [model, ...(cascade?.next ?? []).map((stage) => stage.model)];
    const key = this.#keys.model(homeOf(envelope)).result(jobId);
    const [json, ...jobs] = await Promise.all([
      this.#redis.get(key),
      ...this.#queues.of(models).map((queue) => queue.getJob(jobId)),
    ]);
    const record = json === null ? undefined : parseResult(json);
    if (record !== undefined && mayBeMadeAgain(record)) {
      await this.#untilGone(models, jobId);
      await this.#redis.del(key);
      return false;
    }
    const parts = await this.#parts.find(model, jobId);
    if (record === undefined && parts === undefined) {
      if (await this.#hasOldLetter(model, jobId, jobs, partCount)) return false;
    }
    const job = jobs.find((each) => each !== undefined);
    const known = (job?.data as { digest?: string } | undefined) ?? record ?? parts;
    if (known === undefined) return false;
    // Of a job in parts some may be missing, if its producer died on the way.
    if (known.digest === digest) return known !== parts;
    throw idempotencyConflict();
  }

  /**
   * A job that was given up stays in its queue, as a dead letter, for longer than its record; by then its key may be
   * used again, and in a queue two jobs cannot have one id.
   *
   * @returns whether there was such a letter. It is gone now.
   */
  async #hasOldLetter(
    model: string,
    jobId: string,
    jobs: readonly (Job | undefined)[],
    partCount: number,
  ): Promise<boolean> {
    const partIds = Array.from({ length: partCount > 1 ? partCount : 0 }, (_, index) =>
      partId({ job: jobId, index }),
    );
    const parts = this.#queues
      .of([model])
      .flatMap((queue) => partIds.map((id) => queue.getJob(id)));
    const letters = [...jobs, ...(await Promise.all(parts))].filter(
      // A job that the queue gives up just now has its record in a moment.
      (job) => job?.finishedOn !== undefined && job.finishedOn < Date.now() - RECORDED_MS,
    );
    const removed = await Promise.all(letters.map((job) => hasRemovedLetter(job!)));
    return removed.includes(true);
  }

  /**
   * The attempt that was cancelled may still be in a worker's hand, which drops it when it sees the record: the record
   * must stay until then, or the new job would be taken for the old one.
   *
   * @throws BackpressureError if it is there for longer than a dead worker's lease.
   */
  async #untilGone(models: readonly string[], jobId: string): Promise<void> {
    for (const end = Date.now() + LONGEST_HOLD_MS; ; await sleep(HOLD_POLL_MS)) {
      await this.#queues.remove(models, jobId);
      if ((await this.#queues.state(models, jobId)) === "unknown") return;
      if (Date.now() < end) continue;
      throw new BackpressureError(
        "backpressure",
        `the earlier attempt at job ${jobId}, which has ended, is still in a worker's hand; send the request again later`,
        { field: "idempotencyKey" },
      );
    }
  }
}

/** Not if another caller under the same key was first, and its new job stands there now. */
async function hasRemovedLetter(letter: Job): Promise<boolean> {
  if (!(await letter.isFailed())) return false;
  return letter.remove().then(
    () => true,
    () => false, // A worker has it again.
  );
}

/** A request that was cancelled, or too late, may be made again under its key. */
function mayBeMadeAgain(record: ResultRecord): boolean {
  return (
    record.state === "cancelled" ||
    (record.state === "failed" && record.failure.code === "deadline_exceeded")
  );
}

/** Within so long after a job is given up its record is written. */
const RECORDED_MS = 60_000;
/** A killed worker's jobs are free again after its lease and the next look at it. */
const LONGEST_HOLD_MS = 12_000;
const HOLD_POLL_MS = 50;
