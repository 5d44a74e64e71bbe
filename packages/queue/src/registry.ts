import type { Redis } from "ioredis";
import type { Keys } from "./contract/index.ts";

/** Which models the fleet offers, and which workers are alive: written by workers, read by clients. */
export class ModelRegistry {
  readonly #redis: Redis;
  readonly #keys: Keys;

  constructor(redis: Redis, keys: Keys) {
    this.#redis = redis;
    this.#keys = keys;
  }

  /** What is recorded of one model. */
  async offer(model: string): Promise<ModelOffer | undefined> {
    const json = await this.#redis.hget(this.#keys.models, model);
    return json === null ? undefined : (JSON.parse(json) as ModelOffer);
  }

  /** A worker's sign of life; to be repeated every {@link HEARTBEAT_MS}. */
  async announce(offer: ModelOffer, workerId: string, now: number): Promise<void> {
    const workers = this.#keys.model(offer.model).workers;
    await Promise.all([
      this.#redis.hset(this.#keys.models, offer.model, JSON.stringify(offer)),
      this.#redis.zadd(workers, now, workerId),
      this.#redis.zremrangebyscore(workers, "-inf", now - 10 * HEARTBEAT_MS),
    ]);
  }

  async withdraw(model: string, workerId: string): Promise<void> {
    await this.#redis.zrem(this.#keys.model(model).workers, workerId);
  }

  /** Every model that a worker has ever offered here, by id. */
  async offers(): Promise<Map<string, ModelOffer>> {
    const entries = Object.entries(await this.#redis.hgetall(this.#keys.models));
    return new Map(entries.map(([model, json]) => [model, JSON.parse(json) as ModelOffer]));
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
}

export const HEARTBEAT_MS = 5_000;
