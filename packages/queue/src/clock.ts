import type { Redis } from "ioredis";

/** Redis's clock, the one that every process shares: deadlines survive hosts whose clocks disagree. */
export class RedisClock {
  readonly #redis: Redis;
  readonly #timer: NodeJS.Timeout;
  #offsetMs: number;

  private constructor(redis: Redis, offsetMs: number) {
    this.#redis = redis;
    this.#offsetMs = offsetMs;
    this.#timer = setInterval(() => void this.#refresh(), REFRESH_MS);
    this.#timer.unref();
  }

  static async start(redis: Redis): Promise<RedisClock> {
    return new RedisClock(redis, await measureOffset(redis));
  }

  /** Milliseconds since 1970 in Redis's time. */
  now(): number {
    return Date.now() + this.#offsetMs;
  }

  /** A moment of this process's clock in Redis's time. */
  fromLocal(localMs: number): number {
    return localMs + this.#offsetMs;
  }

  stop(): void {
    clearInterval(this.#timer);
  }

  async #refresh(): Promise<void> {
    // A miss keeps the last offset: clocks drift by milliseconds a minute.
    this.#offsetMs = await measureOffset(this.#redis).catch(() => this.#offsetMs);
  }
}

const REFRESH_MS = 60_000;

async function measureOffset(redis: Redis): Promise<number> {
  const before = Date.now();
  const [seconds, microseconds] = await redis.time();
  const halfway = (before + Date.now()) / 2;
  return Number(seconds) * 1000 + Number(microseconds) / 1000 - halfway;
}
