import type { Redis } from "ioredis";
import type { Failure, Keys } from "./contract/index.ts";
import { writeTo, type Write } from "./write.ts";

/** A pair that a model revision cannot score: it threw, was no number, or killed its workers. */
export interface PoisonPair {
  readonly model: string;
  readonly revision: string;
  /** Of query, document and length policy, as core's `documentDigests` gives it. */
  readonly digest: string;
  readonly failure: Failure;
  /** Where it was found. */
  readonly job: string;
  readonly index: number;
  /** Milliseconds since 1970, Redis's time. */
  readonly at: number;
}

/**
 * Pairs that a worker does not try again with the same revision, until somebody forgives them. Looked up
 * without a way to Redis: every worker holds the list (it is short) and reads it anew every few seconds.
 */
export class PoisonList {
  readonly #store: PoisonStore;
  readonly #model: string;
  readonly #revision: string;
  readonly #timer: NodeJS.Timeout;
  #failures: ReadonlyMap<string, Failure> = new Map();

  /** What is known, and read anew from now on; resolves with the first reading. */
  readonly ready: Promise<void>;

  constructor(
    store: PoisonStore,
    { model, revision }: { readonly model: string; readonly revision: string },
  ) {
    this.#store = store;
    this.#model = model;
    this.#revision = revision;
    this.ready = this.#refresh();
    this.ready.catch(() => {}); // Whoever awaits it hears.
    this.#timer = setInterval(() => this.refresh(), REFRESH_MS);
    this.#timer.unref();
  }

  get isEmpty(): boolean {
    return this.#failures.size === 0;
  }

  /** Why the pair is not tried; undefined if nothing speaks against it. */
  failureOf(digest: string): Failure | undefined {
    return this.#failures.size === 0 ? undefined : this.#failures.get(digest);
  }

  async add(pair: Pick<PoisonPair, "digest" | "failure" | "job" | "index" | "at">): Promise<void> {
    this.#failures = new Map(this.#failures).set(pair.digest, pair.failure);
    await this.#store.put({ ...pair, model: this.#model, revision: this.#revision });
  }

  /** Somebody has added a pair, or forgiven one. */
  refresh(): void {
    this.#refresh().catch(() => {}); // The next time is soon.
  }

  close(): void {
    clearInterval(this.#timer);
  }

  async #refresh(): Promise<void> {
    const pairs = await this.#store.list(this.#model);
    this.#failures = new Map(
      pairs.flatMap(({ revision, digest, failure }) =>
        revision === this.#revision ? [[digest, failure]] : [],
      ),
    );
  }
}

/** The lists of all models, as they are kept: for workers to write, and people to read and clear. */
export class PoisonStore {
  readonly #redis: Redis;
  readonly #keys: Keys;
  readonly #write: Write;

  constructor(redis: Redis, keys: Keys) {
    this.#redis = redis;
    this.#keys = keys;
    this.#write = writeTo(redis);
  }

  /** The first report of a pair stays; of more than {@link MOST_PAIRS} none is kept. */
  async put({ model, ...pair }: PoisonPair): Promise<void> {
    const key = this.#keys.model(model).poison;
    if ((await this.#redis.hlen(key)) >= MOST_PAIRS) return;
    const field = `${pair.revision}:${pair.digest}`;
    await this.#write(key, ["hsetnx", field, JSON.stringify(pair)]);
    await this.#redis.publish(this.#keys.notices, `poison ${model}`);
  }

  async list(model: string): Promise<PoisonPair[]> {
    const all = await this.#redis.hvals(this.#keys.model(model).poison);
    return all.flatMap((json) => {
      try {
        return [{ ...(JSON.parse(json) as Omit<PoisonPair, "model">), model }];
      } catch {
        return []; // Not written by us.
      }
    });
  }

  /** @returns whether it was there. Workers hear of it at once, or within five seconds. */
  async forgive(
    model: string,
    { revision, digest }: Pick<PoisonPair, "revision" | "digest">,
  ): Promise<boolean> {
    const removed = await this.#redis.hdel(this.#keys.model(model).poison, `${revision}:${digest}`);
    await this.#redis.publish(this.#keys.notices, `poison ${model}`);
    return removed === 1;
  }
}

const REFRESH_MS = 5_000;
/** Such a revision has another problem than its pairs. */
const MOST_PAIRS = 10_000;
