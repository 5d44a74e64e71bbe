import { keysFor } from "@rankfleet/queue/contract";
import type { RerankClient } from "@rankfleet/sdk";
import type { Cluster, Redis } from "ioredis";
import type { History } from "./history.ts";
import { MODEL } from "./world.ts";

/**
 * When all is over: the results that stand are those that were delivered, and nothing else is left of the jobs.
 *
 * @returns what is left of them, as the names of keys; within some seconds that must be nothing.
 */
export async function aftermath(
  client: RerankClient,
  redis: Redis | Cluster,
  history: History,
): Promise<readonly string[]> {
  for (const [number, id] of history.acknowledged) {
    history.readAgain(number, await client.job(id).result());
  }
  const keys = keysFor();
  const { base, backlog, queued, queues } = keys.model(MODEL);
  const lists = queues.flatMap((queue) =>
    ["wait", "active", "prioritized", "delayed", "failed"].map(
      (list) => `${keys.prefix}:${queue}:${list}`,
    ),
  );
  for (const latest = performance.now() + LONGEST_MS; ;) {
    const left: string[] = [];
    for (const key of [backlog, queued, ...lists]) {
      if ((await redis.exists(key)) === 1) left.push(key);
    }
    for (const id of history.acknowledged.values()) {
      const job = id.split("@")[0]!;
      for (const kind of ["payload", "parts", "suspects"]) {
        if ((await redis.exists(`${base}:${kind}:${job}`)) === 1) left.push(`${kind}:${job}`);
      }
    }
    if (left.length === 0 || performance.now() > latest) return left;
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
}

/** A worker that was killed between two steps has its job delivered again first. */
const LONGEST_MS = 20_000;
