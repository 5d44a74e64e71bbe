import { performance } from "node:perf_hooks";
import type { Reranker } from "@rankfleet/core";
import {
  JobConsumer,
  LeaseLost,
  Postponed,
  type Delivery,
  type PoisonList,
  type RedisClock,
} from "@rankfleet/queue";
import {
  InvalidRequestError,
  isOfNewerVersion,
  parseJob,
  type JobEnvelope,
  type Keys,
  type RankfleetError,
} from "@rankfleet/queue/contract";
import type { Log, Metrics } from "@rankfleet/service";
import type { Redis } from "ioredis";
import { CarefulScoring } from "./careful.ts";
import { Intake } from "./intake.ts";
import { JobCounts, type Outcome } from "./job-counts.ts";
import { scoreJob, type PoisonDocument } from "./score-job.ts";
import { Settlement } from "./settlement.ts";
import { traceJob } from "./spans.ts";
import type { Solitude } from "./solitude.ts";
import { rankOf, Turns } from "./rank.ts";
import { TimeLimit } from "./time-limit.ts";
import { jobError } from "./verdict.ts";

/**
 * One model's jobs on this worker: takes them, has them scored, settles each.
 *
 *     taken → parsed → (stands already? deadline over?) → scored → settled, or handed to the next
 *                 │                                                  model's queue (cascade)
 *                 └── failed for good, or put off ──────────────┘        or tried again
 *
 * Many jobs are in hand at once, so that the reranker can mix their pairs.
 */
export class ModelWorker {
  readonly #options: ModelWorkerOptions;
  /** By queue. Each has hands of its own: what is in hand of one must not make another wait. */
  readonly #hands = new Map<string, Hands>();
  /** The queue in which bulk and standard jobs stand, which is most of all. */
  readonly #mainQueue: string;
  readonly #settlement: Settlement;
  readonly #careful: CarefulScoring;
  readonly #inHand = new Set<string>();
  readonly #counts: JobCounts;

  constructor(options: ModelWorkerOptions) {
    this.#options = options;
    const { reranker } = options;
    const { firstStageWeight } = reranker.facts;
    this.#careful = new CarefulScoring(options);
    this.#counts = new JobCounts(options);
    this.#settlement = new Settlement({ ...options, firstStageWeight });
    const appetite = {
      tokensPerRound: reranker.maxBatchTokens * reranker.devices.length,
      get tokensPerMs() {
        return reranker.tokensPerMs;
      },
      get waitingTokens() {
        return reranker.waitingTokens;
      },
    };
    const keys = options.keys.model(options.model);
    this.#mainQueue = keys.queue("standard");
    for (const name of keys.queues) {
      const intake = new Intake(appetite, name === this.#mainQueue ? {} : URGENT);
      const consumer = this.#consume(name, intake.jobs);
      this.#hands.set(name, { consumer, intake, turns: new Turns() });
    }
  }

  #consume(queue: string, concurrency: number): JobConsumer {
    const { redis, keys, log } = this.#options;
    return new JobConsumer({
      redis,
      keys,
      queue,
      concurrency,
      now: () => this.#options.clock.now(),
      handle: (delivery) => this.#handle(delivery),
      onGivenUp: async ({ jobId, data, reason }) => {
        await this.#settlement.givenUp(jobId, data, reason);
        log.error({ job: jobId, reason }, "job given up by the queue");
      },
      onError: (err) => log.warn({ err }, "queue connection"),
    });
  }

  get #consumers(): JobConsumer[] {
    return [...this.#hands.values()].map(({ consumer }) => consumer);
  }

  get jobsInHand(): number {
    return this.#inHand.size;
  }

  /** Characters of text in a token, of what came lately. */
  get charactersPerToken(): number {
    return this.#hands.get(this.#mainQueue)!.intake.charactersPerToken;
  }

  /** Takes no more jobs and finishes those in hand. */
  async close(): Promise<void> {
    await Promise.all(this.#consumers.map((consumer) => consumer.close()));
    await this.#settlement.close();
  }

  /** Puts the jobs in hand back into their queues, for other workers to take at once. */
  handBack(): void {
    for (const consumer of this.#consumers) consumer.handBack();
  }

  /** Drops a job, or its parts, if it is in hand here. Its record has been written already. */
  cancel(jobId: string): void {
    for (const id of this.#inHand) {
      if (id !== jobId && !id.startsWith(`${jobId}~`)) continue;
      for (const consumer of this.#consumers) consumer.cancel(id, "cancelled");
    }
  }

  async #handle(delivery: Delivery): Promise<void> {
    const start = performance.now();
    const { jobId } = delivery;
    let job: JobEnvelope | undefined;
    let outcome: Outcome = "failed";
    this.#inHand.add(jobId);
    try {
      job = this.#parse(delivery);
      outcome = await this.#scoreAndSettle(delivery, job);
      await this.#forgetCare(delivery);
    } catch (cause) {
      // Stands if what follows throws, for the queue to know that the job has not ended.
      if (isPutOff(delivery, cause)) outcome = "put_off";
      outcome = await this.#fail(delivery, job, cause);
    } finally {
      this.#inHand.delete(jobId);
      this.#counts.ended(job, outcome, performance.now() - start);
    }
  }

  /** What was written down of a job that has ended: if another attempt has it by now, that does this. */
  async #forgetCare(delivery: Delivery): Promise<void> {
    if (delivery.deaths > 0) await this.#careful.forget(delivery);
  }

  /** Returns if the job has ended; throws for the queue to know that it has not, or is a dead letter. */
  async #fail(delivery: Delivery, job: JobEnvelope | undefined, cause: unknown): Promise<Outcome> {
    const { log } = this.#options;
    if (cause instanceof Postponed) throw cause;
    if (cause instanceof LeaseLost) return "lost_lock";
    if (delivery.signal?.aborted === true) {
      // Cancelled, handed back, or taken over by another worker: nothing is wrong with the job.
      if (job === undefined || !(await this.#settlement.hasEnded(delivery, job))) throw cause;
      await this.#forgetCare(delivery);
      return "duplicate";
    }
    const error = jobError(cause);
    if (isCrash(cause)) this.#options.onCrash(error);
    if (isForWantOfRedis(error)) throw new Postponed(error.message, NO_ROOM_MS);
    const isFinal = !error.isRetryable || delivery.isLastAttempt;
    // A job that was cancelled a moment ago has lost its texts: nothing is wrong.
    const isOwn = !isFinal || (await this.#settleFailed(delivery, job, error));
    if (isFinal) await this.#forgetCare(delivery);
    if (!isOwn) return "duplicate";
    log.warn(
      { job: delivery.jobId, code: error.code, field: error.field, isFinal, err: error },
      "job failed",
    );
    // Too late is no dead letter: there is nothing to mend.
    if (error.code === "deadline_exceeded") return "failed";
    throw error;
  }

  /**
   * While Redis takes no record, the job must not count as tried: it would end without one.
   *
   * @returns false if the job had ended before, otherwise.
   */
  async #settleFailed(
    delivery: Delivery,
    job: JobEnvelope | undefined,
    error: RankfleetError,
  ): Promise<boolean> {
    try {
      return await this.#settlement.failed(delivery, job, error.toFailure());
    } catch (cause) {
      const refusal = jobError(cause);
      throw isForWantOfRedis(refusal) ? new Postponed(refusal.message, NO_ROOM_MS) : cause;
    }
  }

  #parse({ data }: Delivery): JobEnvelope {
    const { clock, model, reranker } = this.#options;
    if (isOfNewerVersion(data)) {
      throw new Postponed("of a newer protocol version", NEWER_WORKER_MS);
    }
    const job = parseJob(data);
    if (job.model !== model) {
      const message = `is "${job.model}", but the job stands in the queue of "${model}"`;
      throw new InvalidRequestError([{ field: "model", message }]);
    }
    const isOver = job.deadline !== undefined && job.deadline <= clock.now();
    if (job.revision !== undefined && job.revision !== reranker.facts.revision && !isOver) {
      throw new Postponed("pinned to another revision", OTHER_REVISION_MS);
    }
    return job;
  }

  async #scoreAndSettle(delivery: Delivery, job: JobEnvelope): Promise<Outcome> {
    const { model, redis, reranker, clock, log } = this.#options;
    const { jobId } = delivery;
    if (await this.#settlement.stands(delivery, job)) return "duplicate";
    const waitedMs = Math.max(0, clock.now() - job.enqueuedAt);
    const { consumer, intake, turns } = this.#hands.get(delivery.queue)!;
    consumer.concurrency = intake.begin(job.characters);
    const isEarlier = turns.begin(jobId, delivery.turn);
    return traceJob(jobId, job, async (tag) => {
      const limit = new TimeLimit(job.deadline, clock, delivery.signal);
      const isExpress = delivery.queue === this.#options.keys.model(model).express;
      const rank = rankOf(job.lane, { isExpress, isEarlier });
      try {
        limit.signal.throwIfAborted();
        const { record, texts, tokens, cached, poison } = await scoreJob(job, {
          reranker,
          redis,
          now: () => clock.now(),
          signal: limit.signal,
          deadline: limit.deadline,
          rank,
          tag,
          solitude: this.#options.solitude,
          careful: delivery.deaths > 0 ? { attempt: delivery, scoring: this.#careful } : undefined,
        });
        intake.after({ tokens, pairs: record.pairs, characters: job.characters });
        for (const pair of poison) await this.#remember(job.part?.job ?? jobId, pair);
        const outcome = await this.#settlement.completed(delivery, job, record, texts);
        this.#counts.scored(record, cached);
        log.debug(
          { job: jobId, outcome, documents: job.documents, ...record.timings },
          "job settled",
        );
        return outcome === "written"
          ? "completed"
          : outcome === "lost_lock"
            ? "lost_lock"
            : "duplicate";
      } finally {
        turns.end(jobId);
        consumer.concurrency = intake.end(job.characters);
        limit.clear();
        this.#counts.waited(job, waitedMs);
      }
    });
  }

  async #remember(job: string, { digest, failure, index }: PoisonDocument): Promise<void> {
    const { poison, clock, log } = this.#options;
    if (poison.failureOf(digest) !== undefined) return;
    log.error({ job, index, digest, ...failure }, "document cannot be scored by this revision");
    await poison.add({ job, index, digest, failure, at: Math.round(clock.now()) });
  }
}

export interface ModelWorkerOptions {
  readonly model: string;
  readonly reranker: Reranker;
  readonly poison: PoisonList;
  readonly redis: Redis;
  readonly keys: Keys;
  readonly clock: RedisClock;
  /** Of the whole process: what kills it kills every model's jobs. */
  readonly solitude: Solitude;
  readonly log: Log;
  readonly metrics: Metrics;
  /** A thread of the reranker died: nothing more can be scored in this process. */
  onCrash(error: RankfleetError): void;
}

/** What is in hand of one queue. */
interface Hands {
  readonly consumer: JobConsumer;
  readonly intake: Intake;
  readonly turns: Turns;
}

/** Of these jobs few are in hand, for in here nobody can overtake them. */
const URGENT = { inHandMs: 50, atFirst: 32, least: 2 };
/** How long a job waits until it is looked at again: for Redis to have room, or for a worker that fits. */
const NO_ROOM_MS = 1_000;
const NEWER_WORKER_MS = 5_000;
const OTHER_REVISION_MS = 1_000;

function isPutOff({ signal }: Delivery, cause: unknown): boolean {
  return cause instanceof Postponed || signal?.aborted === true;
}

function isForWantOfRedis({ code }: RankfleetError): boolean {
  return code === "backpressure" || code === "redis_unavailable";
}

function isCrash(error: unknown): boolean {
  return (
    typeof error === "object" &&
    error !== null &&
    "code" in error &&
    error.code === "engine_crashed"
  );
}
