/**
 * - `redis_not_found`: no program that runs; the message names the ways to get one.
 * - `redis_not_started`: the program ended or did not answer in time; the message has its last words.
 */
export type LocalRedisErrorCode = "redis_not_found" | "redis_not_started";

export class LocalRedisError extends Error {
  override readonly name = "LocalRedisError";
  readonly code: LocalRedisErrorCode;

  constructor(code: LocalRedisErrorCode, message: string, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause });
    this.code = code;
  }
}
