import type { Job } from "bullmq";
import type { Redis } from "ioredis";
import {
  homeOf,
  idempotencyConflict,
  jobIdOfAttempt,
  parseResult,
  partIds,
  type JobEnvelope,
  type Keys,
  type ResultRecord,
} from "./contract/index.ts";
import type { JobQueues } from "./job-queues.ts";
import { PartStore } from "./part-store.ts";
import { DEAD_LETTER_TTL_MS } from "./result-store.ts";
import { script, type Script } from "./script.ts";

/**
 * Tells whether a request under an idempotency key has been made before.
 *
 * The key stands for one id. But a job that was cancelled, or too late, or is a dead letter whose record has
 * expired, may be made again, while a worker may still hold the old one or a part of it. So each such attempt
 * (here: a job made under the key, not a delivery of one) has an id of its own: the key's with the attempt's
 * number, which is counted up once, by whoever first sees that the last one is over.
 */
export class Repeats {
  readonly #redis: Redis;
  readonly #keys: Keys;
  readonly #queues: JobQueues;
  readonly #parts: PartStore;
  readonly #nextAttempt: Script;

  constructor(redis: Redis, keys: Keys, queues: JobQueues) {
    this.#redis = redis;
    this.#keys = keys;
    this.#queues = queues;
    this.#parts = new PartStore(redis, keys);
    this.#nextAttempt = script(redis, "rankfleetNextAttempt", { keys: 1, lua: NEXT_SCRIPT });
  }

  /**
   * Under which id the request of a key stands, or is to be queued.
   *
   * @param keyId The id that is made of the key.
   * @param partCount Of the request as it would be queued now.
   * @throws InvalidRequestError `idempotency_conflict` if another request stands there.
   */
  async find(
    keyId: string,
    envelope: Omit<JobEnvelope, "payload">,
    partCount: number,
  ): Promise<{ readonly jobId: string; readonly isRepeat: boolean }> {
    const counter = this.#keys.model(homeOf(envelope)).attempt(keyId);
    for (;;) {
      const attempt = Number((await this.#redis.get(counter)) ?? 0);
      const jobId = jobIdOfAttempt(keyId, attempt);
      const state = await this.#stateOf(jobId, envelope, partCount);
      if (state !== "over") return { jobId, isRepeat: state === "known" };
      await this.#nextAttempt(counter, attempt, ATTEMPT_TTL_MS);
    }
  }

  async #stateOf(
    jobId: string,
    envelope: Omit<JobEnvelope, "payload">,
    partCount: number,
  ): Promise<"known" | "to_be_queued" | "over"> {
    const { model, digest, cascade } = envelope;
    const models = [model, ...(cascade?.next ?? []).map((stage) => stage.model)];
    const jobs: (Job | undefined)[] = [];
    const inParts: Awaited<ReturnType<PartStore["find"]>>[] = [];
    // Stage by stage, and the record last: a job stands in the next place before it is gone from the one before.
    for (const each of models) {
      const [found, ...queued] = await Promise.all([
        this.#parts.find(each, jobId),
        ...this.#queues.of([each]).map((queue) => queue.getJob(jobId)),
      ]);
      inParts.push(found);
      jobs.push(...queued);
    }
    const json = await this.#redis.get(this.#keys.model(homeOf(envelope)).result(jobId));
    const record = json === null ? undefined : parseResult(json);
    if (record !== undefined && mayBeMadeAgain(record)) return "over";
    const parts = inParts.findLast((found) => found !== undefined);
    if (record === undefined && parts === undefined) {
      const all = [...jobs, ...(await this.#partsInQueue(model, jobId, partCount))];
      if (all.some(isOldLetter)) return "over";
    }
    const job = jobs.find((each) => each !== undefined);
    const known = (job?.data as { digest?: string } | undefined) ?? record ?? parts;
    if (known === undefined) return "to_be_queued";
    if (known.digest !== digest) throw idempotencyConflict();
    // Of a job in parts some may be missing, if its producer died on the way. A later stage's are its worker's affair.
    return known === inParts[0] ? "to_be_queued" : "known";
  }

  /** As dead letters they outlive the job's record, and would then be taken for the new job's parts. */
  async #partsInQueue(
    model: string,
    jobId: string,
    partCount: number,
  ): Promise<(Job | undefined)[]> {
    const ids = partCount > 1 ? partIds(jobId, partCount) : [];
    return Promise.all(
      this.#queues.of([model]).flatMap((queue) => ids.map((id) => queue.getJob(id))),
    );
  }
}

/** A job that was given up, whose record has expired. One that is given up just now has its record in a moment. */
function isOldLetter(job: Job | undefined): boolean {
  return job?.finishedOn !== undefined && job.finishedOn < Date.now() - RECORDED_MS;
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
/** Longer than anything of an earlier attempt is kept. */
const ATTEMPT_TTL_MS = DEAD_LETTER_TTL_MS + 24 * 3600 * 1000;

/** KEYS: 1 the counter. ARGV: 1 the attempt that is over, 2 the counter's time to live in ms. */
const NEXT_SCRIPT = `
if (redis.call("GET", KEYS[1]) or "0") == ARGV[1] then
  redis.call("SET", KEYS[1], tonumber(ARGV[1]) + 1, "PX", ARGV[2])
end
`;
