import { randomUUID } from "node:crypto";
import type { Redis } from "ioredis";
import {
  Backlog,
  connect,
  DeadLetters,
  fromRedisError,
  JobProducer,
  JobQueues,
  ModelRegistry,
  onAbort,
  PoisonStore,
  RedisClock,
  ResultStore,
  ResultWaiter,
} from "@rankfleet/queue";
import { ClientClosedError, keysFor, ModelNotServedError } from "@rankfleet/queue/contract";
import type { RerankClientOptions } from "./options.ts";

/** A client's connections and what speaks over them; opened by the first call that needs them. */
export class Session {
  /** Names the channel on which this producer hears of its jobs' ends. */
  readonly producerId: string;
  readonly clock: RedisClock;
  readonly producer: JobProducer;
  readonly queues: JobQueues;
  readonly store: ResultStore;
  readonly waiter: ResultWaiter;
  readonly registry: ModelRegistry;
  readonly backlog: Backlog;
  readonly deadLetters: DeadLetters;
  readonly poison: PoisonStore;
  readonly #redis: Redis;
  readonly #closing = new AbortController();
  /** Until when a missing model is waited for: once, not again for each request. */
  readonly #waitUntil = new Map<string, number>();
  /** Models that are served, and revisions of one. */
  readonly #served = new Map<
    string,
    { readonly names: readonly string[]; readonly until: number }
  >();

  readonly #onWait: RerankClientOptions["onWait"];
  readonly #watch: NodeJS.Timeout | undefined;

  private constructor(
    redis: Redis,
    subscriber: Redis,
    clock: RedisClock,
    { prefix, onWait }: Pick<RerankClientOptions, "prefix" | "onWait">,
  ) {
    const keys = keysFor(prefix);
    this.#redis = redis;
    this.clock = clock;
    this.producerId = randomUUID();
    this.producer = new JobProducer(redis, keys);
    this.queues = new JobQueues(redis, keys);
    this.store = new ResultStore(redis, keys);
    this.registry = new ModelRegistry(redis, keys);
    this.backlog = new Backlog(redis, keys);
    this.deadLetters = new DeadLetters(redis, keys);
    this.poison = new PoisonStore(redis, keys);
    const { queues, store, producerId } = this;
    this.waiter = new ResultWaiter({ store, queues, keys, producerId, subscriber });
    this.#onWait = onWait;
    if (onWait === undefined) return;
    this.#watch = setInterval(() => {
      this.#tellOfMissingWorkers().catch(() => {}); // What `onWait` throws is its own affair.
    }, WATCH_MS);
    this.#watch.unref();
  }

  /** @throws RedisUnavailableError */
  static async open(options: RerankClientOptions): Promise<Session> {
    const source = options.redis ?? process.env["REDIS_URL"] ?? "redis://127.0.0.1:6379";
    const redis = await connect(source, "producer");
    let subscriber: Redis | undefined;
    try {
      subscriber = await connect(source, "consumer");
      return new Session(redis, subscriber, await RedisClock.start(redis), options);
    } catch (error) {
      redis.disconnect();
      subscriber?.disconnect();
      throw fromRedisError(error);
    }
  }

  /**
   * @throws ModelNotServedError if no worker has offered the model, or none alive serves the revision, also
   *   not within `modelWaitMs` of the first request that missed it; the signal's reason.
   */
  async requireServed(
    { model, revision }: { readonly model: string; readonly revision: string | undefined },
    { modelWaitMs = 0, onWait }: Pick<RerankClientOptions, "modelWaitMs" | "onWait">,
    signal: AbortSignal | undefined,
  ): Promise<void> {
    const wanted = `${model}@${revision ?? ""}`;
    for (;;) {
      const served = await this.#lately("models", model, async () => [
        ...(await this.registry.offers()).keys(),
      ]);
      const isServed = served.includes(model);
      const revisions =
        isServed && revision !== undefined
          ? await this.#lately(`revisions of ${model}`, revision, () =>
              this.registry.liveRevisions(model),
            )
          : [];
      if (isServed && (revision === undefined || revisions.includes(revision))) {
        this.#waitUntil.delete(wanted);
        return;
      }
      const until = this.#waitUntil.get(wanted) ?? Date.now() + modelWaitMs;
      this.#waitUntil.set(wanted, until);
      const missing = new ModelNotServedError(model, isServed ? revisions : served, revision);
      if (Date.now() >= until) throw missing;
      onWait?.({ etaMs: undefined, reason: missing.message });
      signal?.throwIfAborted();
      await new Promise((resolve) => setTimeout(resolve, SERVED_POLL_MS));
    }
  }

  /**
   * What is under way over these connections, or a ClientClosedError once they are closed: a command that waits
   * for Redis to come back is then never answered. Redis's own errors become the contract's.
   */
  whileOpen<Result>(underWay: Promise<Result>): Promise<Result> {
    const { signal } = this.#closing;
    return new Promise((resolve, reject) => {
      const stopListening = onAbort(signal, () => reject(signal.reason));
      underWay
        .then(resolve, (error: unknown) => reject(fromRedisError(error)))
        .finally(stopListening);
    });
  }

  async close(): Promise<void> {
    this.#closing.abort(new ClientClosedError("client_closed", "the client was closed"));
    clearInterval(this.#watch);
    this.clock.stop();
    this.waiter.close();
    await Promise.all([this.producer.close(), this.queues.close(), this.deadLetters.close()]);
    this.#redis.disconnect();
  }

  /** A job that is queued waits for its workers as long as it takes, but not in silence. */
  async #tellOfMissingWorkers(): Promise<void> {
    for (const model of this.waiter.modelsWaitedFor(WATCH_MS)) {
      const isServed = await this.registry.rate(model).then(
        (rate) => rate !== undefined,
        () => true, // Redis is away, which others tell.
      );
      const reason = `no worker of "${model}" is alive; its jobs wait in the queue`;
      if (!isServed) this.#onWait?.({ etaMs: undefined, reason });
    }
  }

  /** As it was a few seconds ago, if `name` was there then: not each request need ask Redis. */
  async #lately(
    what: string,
    name: string,
    ask: () => Promise<readonly string[]>,
  ): Promise<readonly string[]> {
    const known = this.#served.get(what);
    if (known !== undefined && Date.now() < known.until && known.names.includes(name)) {
      return known.names;
    }
    const names = await ask();
    this.#served.set(what, { names, until: Date.now() + SERVED_CACHE_MS });
    return names;
  }
}

const WATCH_MS = 5_000;
const SERVED_CACHE_MS = 5_000;
const SERVED_POLL_MS = 100;
