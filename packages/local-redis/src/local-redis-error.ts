export type LocalRedisErrorCode = "redis_not_found" | "redis_not_started";

export class LocalRedisError extends Error {
  override readonly name = "LocalRedisError";
  readonly code: LocalRedisErrorCode;

  constructor(code: LocalRedisErrorCode, message: string, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause });
    this.code = code;
  }
}
