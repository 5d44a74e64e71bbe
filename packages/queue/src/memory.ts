import type { Redis } from "ioredis";

/** Bytes that Redis uses, and `maxmemory`; 0 if that is not set. */
export interface RedisMemory {
  readonly used: number;
  readonly most: number;
}

export async function readMemory(redis: Redis): Promise<RedisMemory> {
  const info = await redis.info("memory");
  const read = (field: string): number =>
    Number(new RegExp(`^${field}:(\\d+)`, "mu").exec(info)?.[1] ?? 0);
  return { used: read("used_memory"), most: read("maxmemory") };
}

/** Producers leave the rest of `maxmemory` to the workers, which need it to write results. */
export const PRODUCERS_SHARE = 0.9;
/** Beyond this the score cache gives way: it only saves work. */
export const CACHE_SHARE = 0.75;

/** Whether more than this share of `maxmemory` is used. */
export function isTight({ used, most }: RedisMemory, share: number): boolean {
  return most > 0 && used >= share * most;
}
