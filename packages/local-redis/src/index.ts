export { findRedisServer } from "./find-redis-server.ts";
export { freePort } from "./free-port.ts";
export { LocalRedisError, type LocalRedisErrorCode } from "./local-redis-error.ts";
export type { RedisServerProgram } from "./redis-server-program.ts";
export { startLocalRedis, type LocalRedis, type LocalRedisOptions } from "./start-local-redis.ts";
