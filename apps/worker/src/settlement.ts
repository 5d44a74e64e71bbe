import type { Texts } from "@rankfleet/core";
import {
  Backlog,
  isDeadLetter,
  JobProducer,
  PartStore,
  ResultStore,
  type Delivery,
  type SettleOutcome,
} from "@rankfleet/queue";
import {
  homeOf,
  parseJob,
  PROTOCOL_VERSION,
  toError,
  type CompletedRecord,
  type FailedRecord,
  type Failure,
  type JobEnvelope,
  type Keys,
} from "@rankfleet/queue/contract";
import type { Redis } from "ioredis";
import { nextStage, wholeRecord } from "./cascade.ts";
import { mergeParts } from "./merge-parts.ts";

/**
 * How jobs end: a record is written once, or the job goes on to its next stage. Of a large job's parts,
 * whoever ends the last one merges them all; if that worker dies before it has, the part is delivered again,
 * found recorded, and the merge is done then.
 */
export class Settlement {
  readonly #model: string;
  readonly #store: ResultStore;
  readonly #parts: PartStore;
  readonly #producer: JobProducer;
  readonly #backlog: Backlog;
  readonly #firstStageWeight: number | undefined;

  constructor(options: {
    redis: Redis;
    keys: Keys;
    model: string;
    firstStageWeight: number | undefined;
  }) {
    const { redis, keys } = options;
    this.#model = options.model;
    this.#firstStageWeight = options.firstStageWeight;
    this.#store = new ResultStore(redis, keys);
    this.#parts = new PartStore(redis, keys);
    this.#producer = new JobProducer(redis, keys);
    this.#backlog = new Backlog(redis, keys);
  }

  async close(): Promise<void> {
    await this.#producer.close();
  }

  /**
   * Whether this delivery has nothing left to compute, because the job has ended: its worker died after writing
   * the record and before the queue heard of it, or it was cancelled while it stood in an earlier stage's queue,
   * or in parts.
   *
   * @throws RankfleetError the failure that stands, if the queue is to set the job aside as a dead letter.
   */
  async stands(delivery: Delivery, job: JobEnvelope): Promise<boolean> {
    const { part } = job;
    if (!delivery.isRedelivery && job.cascade === undefined && part === undefined) return false;
    const id = part?.job ?? delivery.jobId;
    const record = await this.#store.read(homeOf(job), id);
    if (record !== undefined) {
      if (part !== undefined) await this.#parts.forget(this.#model, id, part);
      // A copy that was queued while the cascade stood in a later stage: nobody else lets go of it.
      else if (!isDeadLetter(record)) await this.#store.free(this.#model, id);
      // Of a cascade that has gone on from here the dead letter lies where it failed.
      else if (homeOf(job) === this.#model) throw toError(record.failure);
      return true;
    }
    if (part === undefined || !(await this.#parts.has(this.#model, part))) return false;
    await this.#merge(job);
    return true;
  }

  /** Whether there is a record, whoever wrote it. */
  async hasEnded({ jobId }: Delivery, job: JobEnvelope): Promise<boolean> {
    return (await this.#store.read(homeOf(job), job.part?.job ?? jobId)) !== undefined;
  }

  /** @param texts Of the job, if another stage follows. */
  async completed(
    delivery: Delivery,
    job: JobEnvelope,
    record: CompletedRecord,
    texts: Texts | undefined,
  ): Promise<SettleOutcome> {
    const { part } = job;
    if (part === undefined) return this.#finish(delivery, job, record, texts);
    const { from } = part;
    const { firstStageScores } = job;
    const missing = await this.#parts.settle(
      this.#model,
      part,
      { state: "completed", from, record, firstStageScores, query: texts?.query },
      delivery,
    );
    if (missing === 0) await this.#merge(job);
    if (missing === "lost_lock") return missing;
    if (missing !== "gone") return "written";
    await this.#partIsLate(job);
    return "already_settled";
  }

  /** @returns whether it is a dead letter now: not if the job had ended otherwise before. */
  async failed(
    delivery: Delivery,
    job: JobEnvelope | undefined,
    failure: Failure,
  ): Promise<boolean> {
    if (job?.part !== undefined) {
      const missing = await this.#partFailed(job, failure, delivery);
      // Its texts go with the job: what was cancelled, merged or handed on meanwhile has nothing to be set aside for.
      return missing !== "gone" || (await this.#isLostPart(job));
    }
    const record = failedRecord(failure, job);
    const replyTo = job?.replyTo ?? replyToOf(delivery.data);
    const model = this.#model;
    const home = job === undefined ? model : homeOf(job);
    const past = job?.cascade?.past ?? [];
    const { jobId } = delivery;
    let outcome: SettleOutcome = "lost_lock";
    if (home === model) {
      outcome = await this.#store.settle({ ...delivery, model, replyTo, past }, record);
    } else if (await this.#store.holdsLease(model, delivery)) {
      // A cascade's record lies with another model, on another slot, so a script cannot see to both.
      const ended = { model: home, past, endedInModel: model, jobId, replyTo };
      outcome = await this.#store.settleUnlocked(ended, record);
    }
    if (outcome !== "already_settled") return true;
    return this.#isLetter(home, jobId);
  }

  /** Looked for in the order in which a job goes on; the record is there before the last stage lets go of it. */
  async #isLostPart(job: JobEnvelope): Promise<boolean> {
    const jobId = job.part!.job;
    for (const { model } of job.cascade?.next ?? []) {
      if (await this.#backlog.has(model, jobId)) return false;
    }
    return this.#isLetter(homeOf(job), jobId);
  }

  async #isLetter(home: string, jobId: string): Promise<boolean> {
    const standing = await this.#store.read(home, jobId);
    return standing === undefined || isDeadLetter(standing);
  }

  /** The queue itself gave the job up, e.g. after too many of its workers had died. */
  async givenUp(jobId: string, data: unknown, reason: string): Promise<void> {
    const failure: Failure = {
      code: "worker_failed",
      message: `the queue gave the job up: ${reason}`,
    };
    const job = readable(data);
    if (job?.part !== undefined) return void (await this.#partFailed(job, failure));
    const record = failedRecord(failure, job);
    const ended = {
      model: job === undefined ? this.#model : homeOf(job),
      past: job?.cascade?.past,
      endedInModel: this.#model,
    };
    await this.#store.settleUnlocked({ ...ended, jobId, replyTo: replyToOf(data) }, record);
  }

  async #partFailed(
    job: JobEnvelope,
    failure: Failure,
    lease?: Delivery,
  ): Promise<Awaited<ReturnType<PartStore["settle"]>>> {
    const { part, documents, ids } = job;
    const record = { state: "failed", from: part!.from, documents, ids, failure } as const;
    const missing = await this.#parts.settle(this.#model, part!, record, lease);
    if (missing === 0) await this.#merge(job);
    if (missing === "gone") await this.#partIsLate(job);
    return missing;
  }

  /**
   * The job has been merged, or cancelled; or it has waited for longer than parts are kept, and ends with that.
   * For a stage that others follow this cannot be told: the job may be there.
   */
  async #partIsLate(job: JobEnvelope): Promise<void> {
    if ((job.cascade?.next.length ?? 0) > 0) return;
    await this.#failWhole(job, {
      code: "payload_missing",
      message: "the job's parts are no longer in Redis: send the request again",
      field: "payload",
    });
  }

  /** The whole job of a part. */
  async #failWhole(job: JobEnvelope, failure: Failure): Promise<void> {
    const { part, replyTo, cascade } = job;
    const settled = {
      model: homeOf(job),
      jobId: part!.job,
      replyTo,
      past: cascade?.past,
      endedInModel: this.#model,
    };
    await this.#store.settleUnlocked(settled, failedRecord(failure, job));
  }

  /** The records of all parts in one; nothing happens if another attempt was faster. */
  async #merge(job: JobEnvelope): Promise<void> {
    const { part } = job;
    const parts = await this.#parts.readAll(this.#model, part!.job);
    if (parts === undefined) return;
    const merged = mergeParts(job, parts, this.#firstStageWeight);
    if ("failure" in merged) {
      await this.#failWhole(job, merged.failure);
    } else {
      const documents: string[] = [];
      for (const [index, text] of Object.entries(merged.record.texts ?? {})) {
        documents[Number(index)] = text;
      }
      const [query] = parts.flatMap((each) => (each.state === "completed" ? [each.query] : []));
      const { record, firstStageScores } = merged;
      const { documents: count } = part!;
      const whole = {
        ...job,
        part: undefined,
        documents: count,
        ids: record.ids,
        firstStageScores,
      };
      await this.#finish({ jobId: part!.job }, whole, merged.record, {
        query: query ?? "",
        documents,
      });
    }
    await this.#parts.forget(this.#model, part!.job);
  }

  /** The job's record, or its next stage. Without a lease the first record stays. */
  async #finish(
    { jobId, queue, token }: Pick<Delivery, "jobId"> & Partial<Delivery>,
    job: JobEnvelope,
    record: CompletedRecord,
    texts: Texts | undefined,
  ): Promise<SettleOutcome> {
    const isLastStage = (job.cascade?.next.length ?? 0) === 0;
    // Where no document could be scored, nothing is left for the later stages.
    if (!isLastStage && record.logits.some((logit) => logit !== null)) {
      // The job goes on under its own id. If this attempt dies between the two steps, the next one hands
      // on the same job again, which the queue takes for the one it has; so this stage's texts stay until
      // the whole job is settled.
      const next = nextStage(job, record, texts!);
      await this.#producer.add(jobId, next.job, next.texts, { isContinuation: true });
      await this.#backlog.release(this.#model, jobId);
      return "written";
    }
    const settled = {
      model: homeOf(job),
      jobId,
      replyTo: job.replyTo,
      past: job.cascade?.past,
      endedInModel: this.#model,
    };
    const whole = wholeRecord(job, record);
    if (queue === undefined || token === undefined)
      return this.#store.settleUnlocked(settled, whole);
    const lease = { queue, token };
    if (isLastStage) return this.#store.settle({ ...settled, ...lease }, whole);
    const isHeld = await this.#store.holdsLease(this.#model, { jobId, ...lease });
    return isHeld ? this.#store.settleUnlocked(settled, whole) : "lost_lock";
  }
}

function failedRecord(failure: Failure, job: JobEnvelope | undefined): FailedRecord {
  return { v: PROTOCOL_VERSION, state: "failed", failure, digest: job?.digest };
}

/** Of a message that is no job, the one field that lets its sender hear of it. */
function replyToOf(data: unknown): string | undefined {
  if (typeof data !== "object" || data === null || !("replyTo" in data)) return undefined;
  return typeof data.replyTo === "string" ? data.replyTo : undefined;
}

function readable(data: unknown): JobEnvelope | undefined {
  try {
    return parseJob(data);
  } catch {
    return undefined;
  }
}
