import type { Redis } from "ioredis";
import type { Keys } from "./contract/index.ts";
import { script, type Script } from "./script.ts";
import { writeTo, type Write } from "./write.ts";

/** Which models the fleet offers, and which workers are alive: written by workers, read by clients. */
export class ModelRegistry {
  readonly #redis: Redis;
  readonly #keys: Keys;
  readonly #write: Write;
  readonly #deleteOwn: Script;

  constructor(redis: Redis, keys: Keys) {
    this.#redis = redis;
    this.#keys = keys;
    this.#write = writeTo(redis);
    this.#deleteOwn = script(redis, "rankfleetDeleteOwn", { keys: 1, lua: DELETE_OWN_SCRIPT });
  }

  /** What is recorded of one model. */
  async offer(model: string): Promise<ModelOffer | undefined> {
    const json = await this.#redis.hget(this.#keys.models, model);
    return json === null ? undefined : (JSON.parse(json) as ModelOffer);
  }

  /**
   * A worker's sign of life; to be repeated every {@link HEARTBEAT_MS}. What {@link join} recorded of the model
   * stands, unless Redis has lost it: a worker that has been here for long must not undo what a newer one brought.
   *
   * @param now Redis's time.
   */
  async announce(offer: ModelOffer, worker: WorkerSign, now: number): Promise<void> {
    const { workers, rates, revisions } = this.#keys.model(offer.model);
    const { tokensPerSecond, charactersPerToken } = worker;
    await Promise.all([
      this.#write(this.#keys.models, ["hsetnx", offer.model, JSON.stringify(offer)]),
      this.#write(
        workers,
        ["zadd", now, worker.id],
        ["zremrangebyscore", "-inf", now - 10 * HEARTBEAT_MS],
      ),
      this.#write(revisions, ["hset", offer.revision, Math.round(now)]),
      this.#write(rates, ["hset", worker.id, `${tokensPerSecond} ${charactersPerToken} ${now}`]),
    ]);
  }

  /**
   * Counts the worker among those that serve the model, if it may: one worker at a time finds out what the
   * others have recorded, and the next one finds this one's offer. What is recorded outlasts its workers: jobs
   * queue up for the model while none is alive, and are not to be scored by another file.
   *
   * @param agree Is told what has been recorded, if anything; returns what is to be recorded.
   *   What it throws is thrown, and nothing is recorded.
   */
  async join(
    model: string,
    worker: { readonly id: string; readonly now: () => number },
    agree: (recorded: ModelOffer | undefined) => ModelOffer,
  ): Promise<ModelOffer> {
    const { joining, workers } = this.#keys.model(model);
    while ((await this.#write(joining, ["set", worker.id, "PX", JOINING_MS, "NX"])) === null) {
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    try {
      const offer = agree(await this.offer(model));
      await this.#write(this.#keys.models, ["hset", model, JSON.stringify(offer)]);
      await this.#write(workers, ["zadd", worker.now(), worker.id]);
      await this.#forgetRates(model);
      return offer;
    } finally {
      // Of a worker that has stalled for longer than it may join, another one has the place.
      await this.#deleteOwn(joining, worker.id);
    }
  }

  /** Of workers that were killed, and so never withdrew. */
  async #forgetRates(model: string): Promise<void> {
    const { workers, rates } = this.#keys.model(model);
    const [rated, known] = await Promise.all([
      this.#redis.hkeys(rates),
      this.#redis.zrange(workers, "0", "-1"),
    ]);
    const gone = rated.filter((id) => !known.includes(id));
    if (gone.length > 0) await this.#redis.hdel(rates, ...gone);
  }

  async withdraw(model: string, workerId: string): Promise<void> {
    const { workers, rates } = this.#keys.model(model);
    await Promise.all([this.#redis.zrem(workers, workerId), this.#redis.hdel(rates, workerId)]);
  }

  /** What the model's live workers get through together; undefined if none is alive. */
  async rate(model: string): Promise<FleetRate | undefined> {
    const { workers, rates } = this.#keys.model(model);
    const [time, all, seen] = await Promise.all([
      this.#redis.time(),
      this.#redis.hgetall(rates),
      this.#redis.zrangebyscore(workers, "-inf", "+inf", "WITHSCORES"),
    ]);
    const oldest = Number(time[0]) * 1000 - 3 * HEARTBEAT_MS;
    let [tokensPerSecond, charactersPerToken, count] = [0, 0, 0];
    for (let i = 0; i < seen.length; i += 2) {
      if (Number(seen[i + 1]) < oldest) continue;
      const [tokens, characters] = (all[seen[i]!] ?? "").split(" ").map(Number);
      if (!(tokens! > 0) || !(characters! > 0)) continue;
      tokensPerSecond += tokens!;
      charactersPerToken += characters!;
      count++;
    }
    if (count === 0) return undefined;
    return { tokensPerSecond, charactersPerToken: charactersPerToken / count };
  }

  /** Revisions of a model that a live worker serves. */
  async liveRevisions(model: string): Promise<string[]> {
    const [time, all] = await Promise.all([
      this.#redis.time(),
      this.#redis.hgetall(this.#keys.model(model).revisions),
    ]);
    const oldest = Number(time[0]) * 1000 - 3 * HEARTBEAT_MS;
    return Object.entries(all).flatMap(([revision, at]) => (Number(at) < oldest ? [] : [revision]));
  }

  /** Every model that a worker has ever offered here, by id. */
  async offers(): Promise<Map<string, ModelOffer>> {
    const entries = Object.entries(await this.#redis.hgetall(this.#keys.models));
    return new Map(entries.map(([model, json]) => [model, JSON.parse(json) as ModelOffer]));
  }

  /**
   * Nobody serves it any more: requests for it are refused again, and do not wait. Its queue and records stay; its
   * reference goes, so that the name is free.
   */
  async forget(model: string): Promise<boolean> {
    const { workers, rates, revisions } = this.#keys.model(model);
    await this.#redis.del(workers, rates, revisions);
    return (await this.#redis.hdel(this.#keys.models, model)) === 1;
  }

  /** Workers of a model that gave a sign of life lately. */
  async liveWorkers(model: string, now: number): Promise<number> {
    return this.#redis.zcount(this.#keys.model(model).workers, now - 3 * HEARTBEAT_MS, "+inf");
  }
}

export interface ModelOffer {
  readonly model: string;
  readonly revision: string;
  readonly dtype: string;
  readonly maxTokens: number;
  /** Logits of the calibration pairs: what the model's workers have agreed on. */
  readonly reference?: readonly number[];
  /** Whose logits those are: not always the revision and dtype above, which are of who joined last. */
  readonly referenceOf?: ReferenceOrigin;
}

export interface ReferenceOrigin {
  readonly revision: string;
  readonly dtype: string;
  /** Redis's time. */
  readonly recordedAt?: number;
}

/** What a worker tells of itself with each sign of life. */
export interface WorkerSign extends FleetRate {
  readonly id: string;
}

export interface FleetRate {
  /** Measured: padded tokens that the devices get through in a second. */
  readonly tokensPerSecond: number;
  /** Of the texts seen lately. */
  readonly charactersPerToken: number;
}

/** How many milliseconds a fleet needs for so many characters; undefined if no worker is alive. */
export function drainMs(characters: number, rate: FleetRate | undefined): number | undefined {
  if (rate === undefined) return undefined;
  return (1000 * characters) / (rate.tokensPerSecond * rate.charactersPerToken);
}

export const HEARTBEAT_MS = 5_000;
/** A worker that takes longer to join counts as dead. In milliseconds, as the other one. */
const JOINING_MS = 5_000;

/** KEYS: 1. ARGV: 1 the value that is the caller's own. */
const DELETE_OWN_SCRIPT = `if redis.call("GET", KEYS[1]) == ARGV[1] then redis.call("DEL", KEYS[1]) end`;
