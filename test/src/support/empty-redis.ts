import { connect } from "@rankfleet/queue";
import { startLocalRedis, type LocalRedis } from "@rankfleet/local-redis";
import { afterAll, beforeAll, beforeEach } from "vitest";

type Redis = Awaited<ReturnType<typeof connect>>;

/** For tests of what lies in Redis: each begins with none of it. To be called once in a test file. */
export function emptyRedis(): { readonly redis: Redis } {
  let server: LocalRedis;
  let redis: Redis;
  beforeAll(async () => {
    server = await startLocalRedis();
    redis = await connect(server.url, "consumer");
  });
  beforeEach(() => redis.flushall());
  afterAll(async () => {
    redis.disconnect();
    await server.stop();
  });
  return {
    get redis() {
      return redis;
    },
  };
}
