import { SpanKind, SpanStatusCode, trace, type Span, type Tracer } from "@opentelemetry/api";
import { drainMs, type ModelOffer } from "@rankfleet/queue";
import {
  ClientClosedError,
  DeadlineExceededError,
  JobNotFoundError,
  newJobId,
  parseJobId,
  parseRequest,
  RankfleetError,
  type ParsedRequest,
  type RerankRequest,
} from "@rankfleet/queue/contract";
import { DeadLetterBox } from "./dead-letters.ts";
import { JobHandle } from "./job.ts";
import { warnOfDepth } from "./depth.ts";
import { toEnvelope } from "./envelope.ts";
import {
  requireOptions,
  type ModelBacklog,
  type RerankClientOptions,
  type RerankManyOptions,
  type WaitOptions,
} from "./options.ts";
import { withPatience, type Patience } from "./patience.ts";
import type { RerankResult } from "./result.ts";
import { Session } from "./session.ts";
import { streamRequests, type RerankOutcome } from "./stream.ts";
import { Withdrawals } from "./withdrawals.ts";

/**
 * Puts rerank jobs into Redis and gets their scores back.
 *
 * ```ts
 * const client = new RerankClient({ redis: "redis://127.0.0.1:6379" });
 * const { results } = await client.rerank({ query: "…", documents: ["…", "…"] });
 * await client.close();
 * ```
 *
 * One client serves a whole process: it holds two connections, however much is under way.
 */
export class RerankClient {
  readonly #options: RerankClientOptions;
  readonly #withdrawals = new Withdrawals(() => this.#open());
  #session: Promise<Session> | undefined;
  #isClosed = false;

  /** @throws InvalidRequestError for an unknown option, or one with a value that it cannot have. */
  constructor(options: RerankClientOptions = {}) {
    requireOptions(options);
    this.#options = options;
  }

  /**
   * Scores the documents and orders them by relevance to the query.
   *
   * @throws InvalidRequestError for a request that breaks the contract (before anything is sent), with code
   *   `idempotency_conflict` (from the queue) or `query_too_long` (from the worker); ModelNotServedError;
   *   DeadlineExceededError; BackpressureError with `whenFull: "fail"`; JobFailedError if the job was given up,
   *   JobCancelledError if somebody cancelled it, JobNotFoundError if Redis has lost it; RedisUnavailableError;
   *   ClientClosedError; the signal's reason once it aborts, which also cancels the job if this call made it.
   */
  async rerank(request: RerankRequest, { signal }: WaitOptions = {}): Promise<RerankResult> {
    return this.#rerank(request, { signal, ...this.#options });
  }

  /**
   * Hands the job over; once this resolves it is in Redis and will be scored.
   *
   * @param options.signal Ends the wait for room or for Redis, and cancels the job should it arrive all the same.
   * @throws as `rerank`, except for what happens to the job later.
   */
  async enqueue(request: RerankRequest, { signal }: WaitOptions = {}): Promise<JobHandle> {
    return this.#enqueue(request, { signal, ...this.#options });
  }

  async #rerank(request: RerankRequest, patience: Patience): Promise<RerankResult> {
    const { signal } = patience;
    for (let repeats = 0; ; repeats++) {
      const job = await this.#enqueue(request, patience);
      try {
        return await withPatience(() => job.result({ signal }), patience);
      } catch (error) {
        if (signal?.aborted && job.isOwn) await job.cancel().catch(() => {});
        // A Redis that lost its last second with its power has forgotten the job, but here it still is.
        const isForgotten = error instanceof JobNotFoundError && signal?.aborted !== true;
        if (!isForgotten || repeats === MOST_REPEATS) throw error;
      }
    }
  }

  async #enqueue(request: RerankRequest, patience: Patience): Promise<JobHandle> {
    const parsed = parseRequest(request);
    warnOfDepth(parsed.texts.length, this.#options.warnAboveDocuments);
    return tracer().startActiveSpan("rerank enqueue", { kind: SpanKind.PRODUCER }, async (span) => {
      try {
        return await this.#add(parsed, span, patience);
      } catch (error) {
        span.setStatus({ code: SpanStatusCode.ERROR, message: String(error) });
        throw error;
      } finally {
        span.end();
      }
    });
  }

  /**
   * Streams any number of requests through the fleet, in flat memory: what is under way is bounded, and
   * the source is read only as fast as results are taken. It waits while the backlog is full or Redis is away. A request
   * that fails is an item with an `error`, in place of its `result`; so is each one if Redis cannot be reached at first.
   * Leaving the loop early cancels what is under way. Requests without `priority` go to the `bulk` lane.
   *
   * @throws InvalidRequestError if `requests` is no iterable; the signal's reason once it aborts; what the source throws.
   */
  rerankMany(
    requests: Iterable<RerankRequest> | AsyncIterable<RerankRequest>,
    options: RerankManyOptions = {},
  ): AsyncGenerator<RerankOutcome, void, void> {
    return streamRequests(
      // `parseRequest` refuses what is no object; spreading it here would hide that.
      (request, signal) =>
        this.#rerank(withLane(request), { isForBulk: true, signal, ...this.#options }),
      requests,
      options,
    );
  }

  /**
   * A job that was enqueued earlier, here or in another process.
   *
   * @throws JobNotFoundError if `id` is not of the form of a job's id.
   */
  job(id: string): JobHandle {
    return new JobHandle(() => this.#open(), parseJobId(id));
  }

  /** Jobs that were given up, and pairs that a revision cannot score: to look at and try again. */
  get deadLetters(): DeadLetterBox {
    return new DeadLetterBox(() => this.#open());
  }

  /**
   * What is queued for a model, and how long the fleet will need for it: `etaMs` is queued tokens ÷ the live workers'
   * measured tokens a second, undefined if none is alive. Default: the client's model.
   *
   * @throws RedisUnavailableError; ClientClosedError.
   */
  async backlog(model: string = this.#options.model ?? "box"): Promise<ModelBacklog> {
    const session = await this.#open();
    const [size, rate] = await session.whileOpen(
      Promise.all([session.backlog.queued(model), session.registry.rate(model)]),
    );
    const ms = drainMs(size.bytes, rate);
    return { ...size, etaMs: ms === undefined ? undefined : Math.round(ms) };
  }

  /**
   * The models that workers have offered, live ones or not, with revision, dtype and longest pair in tokens.
   *
   * @throws RedisUnavailableError; ClientClosedError.
   */
  async models(): Promise<ModelOffer[]> {
    const session = await this.#open();
    return [...(await session.whileOpen(session.registry.offers())).values()];
  }

  /** Ends the connections; whoever still waits gets a ClientClosedError. Jobs go on without us. */
  async close(): Promise<void> {
    this.#isClosed = true;
    const session = await this.#session?.catch(() => undefined);
    this.#session = undefined;
    await session?.close();
  }

  async #add(parsed: ParsedRequest, span: Span, patience: Patience): Promise<JobHandle> {
    const { options, texts } = parsed;
    const { signal } = patience;
    signal?.throwIfAborted();
    const session = await this.#open();
    const stages = options.stages ?? [{ model: options.model ?? this.#options.model ?? "box" }];
    const models = stages.map(({ model }) => model);
    const deadlineMs = options.deadline === undefined ? undefined : Number(options.deadline);
    requireAhead(deadlineMs);
    const { idempotencyKey: key, tenant } = options;
    const newId = newJobId(key === undefined ? undefined : { key, tenant, models });
    span.setAttributes({
      "rankfleet.model": models.join(">"),
      "rankfleet.documents": texts.length,
    });
    // A repeat may have ended long ago.
    const isNew = session.waiter.isListening && key === undefined;
    const envelope = toEnvelope(parsed, stages, session);
    // By an attempt that failed half way, whatever became of later ones.
    let mayStand = false;
    const add = async (): Promise<JobHandle> => {
      // Opened anew, a client that was closed while it waited says so.
      const open = await this.#open();
      for (const model of models) {
        const wanted = { model, revision: options.revision };
        await open.whileOpen(open.requireServed(wanted, this.#options, signal));
      }
      signal?.throwIfAborted();
      requireAhead(deadlineMs);
      const content = { query: parsed.query, documents: texts };
      const sent = open.whileOpen(open.producer.add(newId, envelope, content));
      const added = await sent.catch((error: unknown) => {
        mayStand ||= !isRefusal(error);
        throw error;
      });
      const { jobId, isRepeat } = added;
      span.setAttribute("rankfleet.job", jobId);
      const job = { jobId, models, deadlineMs, isNew, isOwn: !isRepeat };
      return new JobHandle(() => this.#open(), job);
    };
    let adding: Promise<JobHandle> | undefined;
    try {
      return await withPatience(() => (adding = add()), patience, deadlineMs);
    } catch (error) {
      // What was under way to a Redis that is away may arrive all the same.
      if (signal?.aborted) adding?.then((job) => job.isOwn && job.cancel()).catch(() => {});
      adding?.catch(() => {
        if (mayStand && key === undefined) this.#withdrawals.withdraw({ jobId: newId, models });
      });
      throw error;
    }
  }

  #open(): Promise<Session> {
    if (this.#isClosed) {
      return Promise.reject(new ClientClosedError("client_closed", "the client is closed"));
    }
    this.#session ??= Session.open(this.#options).catch((error: unknown) => {
      this.#session = undefined; // The next call may find Redis.
      throw error;
    });
    return this.#session;
  }
}

/** Before anything of the job was written. */
function isRefusal(error: unknown): boolean {
  return (
    RankfleetError.isInstance(error) && error.code === "backpressure" && error.field !== undefined
  );
}

function requireAhead(deadlineMs: number | undefined): void {
  if (deadlineMs === undefined || deadlineMs > Date.now()) return;
  throw new DeadlineExceededError("deadline_exceeded", "deadline: is in the past", {
    field: "deadline",
  });
}

/** How often a request is sent again whose job Redis has forgotten. */
const MOST_REPEATS = 3;

/** Fetched each time: a tracer from before the application set its provider would record nothing. */
const tracer = (): Tracer => trace.getTracer("@rankfleet/sdk");

function withLane(request: RerankRequest): RerankRequest {
  const isObject = typeof request === "object" && request !== null;
  if (!isObject || request.priority !== undefined) return request;
  const { priority: _, ...rest } = request;
  return { priority: "bulk", ...rest };
}
