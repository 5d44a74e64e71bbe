import type { Redis } from "ioredis";

/** Redis's clock, the one that every process shares: deadlines survive hosts whose clocks disagree. */
export class RedisClock {
  readonly #redis: Redis;
  #timer: NodeJS.Timeout | undefined;
  #offsetMs: number;
  #isStopped = false;

  private constructor(redis: Redis, first: Measurement) {
    this.#redis = redis;
    this.#offsetMs = first.offsetMs;
    this.#plan(first.isExact);
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
    this.#isStopped = true;
    clearTimeout(this.#timer);
  }

  #plan(isExact: boolean): void {
    if (this.#isStopped) return;
    this.#timer = setTimeout(() => void this.#refresh(), isExact ? REFRESH_MS : AGAIN_MS);
    this.#timer.unref();
  }

  async #refresh(): Promise<void> {
    // A miss keeps the last offset: clocks drift by milliseconds a minute.
    const measured = await measureOffset(this.#redis).catch(() => undefined);
    if (measured?.isExact === true) this.#offsetMs = measured.offsetMs;
    this.#plan(measured?.isExact === true);
  }
}

const REFRESH_MS = 60_000;
const AGAIN_MS = 1_000;
/** An answer that took longer waited for Redis to come back, and nobody knows when it was given. */
const EXACT_MS = 250;

interface Measurement {
  readonly offsetMs: number;
  readonly isExact: boolean;
}

async function measureOffset(redis: Redis): Promise<Measurement> {
  const before = Date.now();
  const [seconds, microseconds] = await redis.time();
  const after = Date.now();
  const offsetMs = Number(seconds) * 1000 + Number(microseconds) / 1000 - (before + after) / 2;
  return { offsetMs, isExact: Math.abs(after - before) <= EXACT_MS };
}
