import { gunzipSync } from "node:zlib";
import type { Job } from "bullmq";
import type { Redis } from "ioredis";
import { Backlog } from "./backlog.ts";
import { HANDLED } from "./consumer.ts";
import { JobQueues } from "./job-queues.ts";
import {
  formatJobId,
  homeOf,
  isFailureCode,
  modelsOfId,
  parseJob,
  parseJobId,
  parseResult,
  type FailureCode,
  type JobEnvelope,
  type Keys,
} from "./contract/index.ts";

/** A job that was given up. */
export interface DeadLetter {
  /** The job's public id; of a part of a large job, the part's: `<job>~<part>@<model>`. */
  readonly id: string;
  readonly model: string;
  readonly code: FailureCode;
  readonly message: string;
  /** When it was given up, milliseconds since 1970. */
  readonly at: number;
  readonly documents: number | undefined;
  readonly lane: string | undefined;
  readonly tenant: string | undefined;
  readonly metadata: JobEnvelope["metadata"];
  /** How often it was tried. */
  readonly attempts: number;
}

/** A dead letter with everything that is still known of it. */
export interface DeadLetterDetails extends DeadLetter {
  /** As it stands in the queue, whatever it is. */
  readonly data: unknown;
  /** Undefined if its texts are gone or cannot be read. */
  readonly texts: { readonly query: string; readonly documents: readonly string[] } | undefined;
}

export type RedriveOutcome =
  | "redriven"
  | "not_found"
  /** Its texts are gone: send the request again. */
  | "texts_gone"
  /** It never was a job: it would fail again. */
  | "not_a_job"
  /** A part of a job whose other parts have been merged: send its documents again. */
  | "part_of_ended_job";

/** Jobs that were given up: kept for thirty days, to be looked at, tried again, or discarded. */
export class DeadLetters {
  readonly #redis: Redis;
  readonly #keys: Keys;
  readonly #backlog: Backlog;
  readonly #queues: JobQueues;

  constructor(redis: Redis, keys: Keys) {
    this.#redis = redis;
    this.#keys = keys;
    this.#backlog = new Backlog(redis, keys);
    this.#queues = new JobQueues(redis, keys);
  }

  /** The latest first. */
  async list(
    model: string,
    { offset = 0, limit = 100 }: { readonly offset?: number; readonly limit?: number } = {},
  ): Promise<DeadLetter[]> {
    const places = (await this.#places(model)).slice(offset, offset + limit);
    const jobs = await Promise.all(
      places.map(({ queue, jobId }) => this.#queues.named(queue).getJob(jobId)),
    );
    // One that has just been redriven is none any more.
    return jobs.flatMap((job) => (job?.finishedOn === undefined ? [] : [toDeadLetter(model, job)]));
  }

  /** The public ids of all of a model's, the latest first. */
  async ids(model: string): Promise<string[]> {
    return (await this.#places(model)).map(({ jobId }) => formatJobId(jobId, [model]));
  }

  /** Where they are, the latest first: without their texts, so also a hundred thousand are soon read. */
  async #places(model: string): Promise<{ queue: string; jobId: string }[]> {
    const lists = await Promise.all(
      this.#keys.model(model).queues.map(async (queue) => {
        const all = await this.#redis.zrange(this.#failed(queue), "0", "-1", "WITHSCORES");
        return all.flatMap((jobId, i) =>
          i % 2 === 0 ? [{ queue, jobId, at: Number(all[i + 1]) }] : [],
        );
      }),
    );
    return lists.flat().sort((a, b) => b.at - a.at);
  }

  async count(model: string): Promise<number> {
    const { queues } = this.#keys.model(model);
    const counts = await Promise.all(queues.map((queue) => this.#redis.zcard(this.#failed(queue))));
    return counts.reduce((sum, each) => sum + each, 0);
  }

  #failed(queue: string): string {
    return `${this.#keys.prefix}:${queue}:failed`;
  }

  /** @throws JobNotFoundError if the id is of another form. */
  async get(id: string): Promise<DeadLetterDetails | undefined> {
    const found = await this.#find(id);
    if (found === undefined) return undefined;
    const { model, job } = found;
    const data = job.data as unknown;
    return { ...toDeadLetter(model, job), data, texts: await this.#textsOf(data) };
  }

  /**
   * Has a job tried again as if it were new: all its attempts, no deadline. Its failed record goes, so that
   * whoever waits by its id gets the new result. Repeating it does no harm.
   */
  async redrive(id: string): Promise<RedriveOutcome> {
    const found = await this.#find(id);
    if (found === undefined) return "not_found";
    const { model, job } = found;
    const jobId = job.id!;
    let envelope: JobEnvelope;
    try {
      envelope = parseJob(job.data);
    } catch {
      return "not_a_job";
    }
    if (envelope.part !== undefined) return "part_of_ended_job";
    if ((await this.#textsOf(envelope)) === undefined) return "texts_gone";
    const result = this.#keys.model(homeOf(envelope)).result(jobId);
    const json = await this.#redis.get(result);
    if (json !== null && parseResult(json).state === "failed") await this.#redis.del(result);
    await this.#redis.del(this.#keys.model(model).suspects(jobId));
    if (envelope.deadline !== undefined) await job.updateData({ ...envelope, deadline: undefined });
    const place = await this.#backlog.admit(jobId, envelope, false);
    // Its old place was in the order of another day: the clocks begin anew whenever nothing is queued.
    const inLine = job.queueName === this.#keys.model(model).queue(envelope.lane);
    if (inLine && "priority" in place) await job.changePriority({ priority: place.priority });
    // Queue.retryJobs would leave the attempts spent.
    try {
      await job.retry("failed", { resetAttemptsMade: true, resetAttemptsStarted: true });
    } catch (error) {
      // Somebody else was faster.
      if (await job.isFailed()) throw error;
    }
    return "redriven";
  }

  /** Forgets a dead letter and its texts. Its failed record stays for whoever asks. */
  async discard(id: string): Promise<boolean> {
    const found = await this.#find(id);
    if (found === undefined) return false;
    const { model, job } = found;
    await job.remove();
    await this.#redis.del(this.#keys.model(model).payload(job.id!));
    return true;
  }

  async close(): Promise<void> {
    await this.#queues.close();
  }

  async #find(id: string): Promise<{ model: string; job: Job } | undefined> {
    const { jobId, models } = parseDeadId(id);
    for (const model of models) {
      for (const queue of await this.#queues.having(model, jobId)) {
        const job = await queue.getJob(jobId);
        if (job !== undefined && (await job.isFailed())) return { model, job };
      }
    }
    return undefined;
  }

  async #textsOf(data: unknown): Promise<DeadLetterDetails["texts"]> {
    try {
      const { payload } = data as JobEnvelope;
      if ("json" in payload) return JSON.parse(payload.json) as DeadLetterDetails["texts"];
      const bytes = await this.#redis.getBuffer(payload.claim);
      if (bytes === null) return undefined;
      return JSON.parse(gunzipSync(bytes).toString()) as DeadLetterDetails["texts"];
    } catch {
      return undefined;
    }
  }
}

/** Anything may stand in a queue, also under ids that none of us gives. */
function parseDeadId(id: string): { jobId: string; models: readonly string[] } {
  const at = id.lastIndexOf("@");
  if (at <= 0) return parseJobId(id);
  return { jobId: id.slice(0, at), models: modelsOfId(id, id.slice(at + 1)) };
}

function toDeadLetter(model: string, job: Job): DeadLetter {
  const { failedReason, finishedOn = 0, attemptsMade } = job;
  const isHandled = failedReason.startsWith(HANDLED);
  const reason = isHandled ? failedReason.slice(HANDLED.length) : failedReason;
  const code = reason.split(":", 1)[0]!;
  const isCode = isFailureCode(code);
  const data = (typeof job.data === "object" && job.data !== null ? job.data : {}) as {
    readonly [field: string]: unknown;
  };
  const text = (value: unknown): string | undefined =>
    typeof value === "string" ? value : undefined;
  return {
    id: formatJobId(job.id!, [model]),
    model,
    code: isCode ? code : "worker_failed",
    message: isCode ? reason.slice(code.length + 2) : reason,
    at: finishedOn,
    documents: typeof data["documents"] === "number" ? data["documents"] : undefined,
    lane: text(data["lane"]),
    tenant: text(data["tenant"]),
    metadata: data["metadata"] as JobEnvelope["metadata"],
    attempts: attemptsMade,
  };
}
