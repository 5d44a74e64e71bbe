export { findRedisServer, type RedisServerProgram } from "./find-redis-server.ts";
export { LocalRedisError, type LocalRedisErrorCode } from "./local-redis-error.ts";
export { startLocalRedis, type LocalRedis, type LocalRedisOptions } from "./start-local-redis.ts";
