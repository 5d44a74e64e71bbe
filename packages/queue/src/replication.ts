import { setTimeout as sleep } from "node:timers/promises";
import type { Redis } from "ioredis";

/**
 * Acknowledges nothing that a failover could forget: to a producer its job, and to the queue a record, for with the
 * record lost and the job gone, which may have been taken off on the next master, nobody would know of either.
 *
 * Redis replicates asynchronously: it answers first, and a master that dies in between takes what it has
 * answered with it. So where another server may take over (Sentinel, Cluster), a write counts as done once a
 * replica has it (WAIT). A master with no replica left does not wait for one: then `min-replicas-to-write`
 * says whether it takes writes at all.
 */
export class Replication {
  readonly #redis: Redis;
  readonly #hasFailover: boolean;
  /** Connections that were lost: a WAIT answers for the writes of its own connection only. */
  #losses = 0;
  readonly #confirming = new Map<string, Confirmations>();
  static readonly #known = new WeakMap<Redis, Replication>();

  /** One for each connection: all that is written over it can share a WAIT. */
  static of(redis: Redis): Replication {
    const known = Replication.#known.get(redis) ?? new Replication(redis);
    Replication.#known.set(redis, known);
    return known;
  }

  private constructor(redis: Redis) {
    this.#redis = redis;
    this.#hasFailover = redis.isCluster || Boolean(redis.options.sentinels);
    if (!this.#hasFailover) return;
    for (const event of ["close", "reconnecting", "-node"]) redis.on(event, () => this.#losses++);
  }

  /**
   * Does what writes near `key`, once more if the connection went meanwhile, until a replica has it.
   *
   * @param write Must be safe to repeat.
   * @throws what `write` throws, and what Redis does.
   */
  async confirm(key: string, write: () => Promise<void>): Promise<void> {
    if (!this.#hasFailover) return write();
    for (;;) {
      const losses = this.#losses;
      await write();
      try {
        await this.#confirmed(key);
        if (losses === this.#losses) return;
      } catch (error) {
        // Of pipelines ioredis repeats none, and the write is to be repeated anyway.
        if (losses === this.#losses) throw error;
      }
    }
  }

  /** Writes that end during one WAIT share the next: it holds up its connection. */
  #confirmed(key: string): Promise<void> {
    const known = this.#confirming.get(key);
    if (known?.next !== undefined) return known.next;
    const confirmations: Confirmations = known ?? { current: Promise.resolve(), next: undefined };
    this.#confirming.set(key, confirmations);
    const next = confirmations.current.then(async () => {
      confirmations.current = next.catch(() => {});
      confirmations.next = undefined;
      await this.#wait(key);
    });
    confirmations.next = next;
    return next;
  }

  /** The key says which server, where there are several. */
  async #wait(key: string): Promise<void> {
    for (;;) {
      const wait = this.#redis.pipeline().exists(key).wait(1, WAIT_MS);
      if (Number(await lastReply(wait.exec())) > 0) return;
      const info = this.#redis.pipeline().exists(key).info("replication");
      const replicas = /connected_slaves:(\d+)/u.exec(String(await lastReply(info.exec())));
      if (Number(replicas?.[1] ?? 0) === 0) return;
      await sleep(AGAIN_MS);
    }
  }
}

interface Confirmations {
  current: Promise<void>;
  /** Of those that wait for it. */
  next: Promise<void> | undefined;
}

type Replies = Promise<[error: Error | null, reply: unknown][] | null>;

async function lastReply(replies: Replies): Promise<unknown> {
  const [error, reply] = (await replies)?.at(-1) ?? [new Error("Connection is closed.")];
  if (error !== null) throw error;
  return reply;
}

/** A replica on the same network answers within one or two. */
const WAIT_MS = 200;
/** A replica that is connected and behind: others get their turn on the connection meanwhile. */
const AGAIN_MS = 20;
