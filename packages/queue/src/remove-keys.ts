import type { Cluster, Redis } from "ioredis";

/** Deletes every key under a prefix, on every node of a Cluster. Channels have no keys. */
export async function removeKeys(redis: Redis, prefix: string): Promise<void> {
  const nodes = redis.isCluster ? (redis as unknown as Cluster).nodes("master") : [redis];
  for (const node of nodes) {
    for await (const keys of node.scanStream({ match: `${prefix}:*`, count: 500 })) {
      // One by one: on a Cluster they lie on many slots.
      await Promise.all((keys as string[]).map((key) => redis.unlink(key)));
    }
  }
}
