import type { Lane } from "./request.ts";

/**
 * Every key in Redis. All keys of one model carry the same hash tag, `{model}`, so on a cluster they
 * lie on one slot and scripts may touch several of them; models spread over slots.
 *
 * | key | what | lives |
 * |---|---|---|
 * | `<prefix>:{model}:…` | BullMQ's own, for the queue named `{model}`: lanes standard and bulk | |
 * | `<prefix>:{model}-interactive:…` | likewise, for the lane that never stands behind the others | |
 * | `<prefix>:{model}:payload:<job>` | claim check: gzipped texts | until settled, at most payloadTtlMs |
 * | `<prefix>:{model}:result:<job>` | the result record: the one truth about how a job ended | resultTtlMs |
 * | `<prefix>:{model}:parts:<job>` | hash: the parts of a large job until they are merged | until merged |
 * | `<prefix>:{model}:workers` | sorted set of worker ids by last sign of life | |
 * | `<prefix>:{model}:scores:<revision>:young`, `…:old` | hashes: a document's digest → its score | cache TTL |
 * | `<prefix>:models` | hash of model id → facts, written by workers | |
 * | `<prefix>:ended:<producer>` | channel, no key: a producer hears of its jobs' ends | |
 */
export interface Keys {
  readonly prefix: string;
  readonly models: string;
  /** The channel on which a producer hears of its jobs' ends: `<job>`, or `<job> <record>`. */
  ended(producer: string): string;
  model(id: string): ModelKeys;
}

export interface ModelKeys {
  /** The names of the model's BullMQ queues, most urgent first. */
  readonly queues: readonly string[];
  /** The name of the BullMQ queue in which a lane's jobs stand. */
  queue(lane: Lane): string;
  readonly workers: string;
  result(jobId: string): string;
  payload(jobId: string): string;
  /** The parts of a large job. */
  parts(jobId: string): string;
  /** BullMQ's lock in one of the queues: holds the token of the attempt that may settle the job. */
  lock(queue: string, jobId: string): string;
  /** The two halves of the score cache of one revision. */
  scores(revision: string): { readonly young: string; readonly old: string };
}

export const DEFAULT_PREFIX = "rankfleet";

export function keysFor(prefix: string = DEFAULT_PREFIX): Keys {
  return {
    prefix,
    models: `${prefix}:models`,
    ended: (producer) => `${prefix}:ended:${producer}`,
    model: (id) => {
      const tag = `{${id}}`;
      const base = `${prefix}:${tag}`;
      const interactive = `${tag}-interactive`;
      return {
        queues: [interactive, tag],
        queue: (lane) => (lane === "interactive" ? interactive : tag),
        workers: `${base}:workers`,
        result: (jobId) => `${base}:result:${jobId}`,
        parts: (jobId) => `${base}:parts:${jobId}`,
        payload: (jobId) => `${base}:payload:${jobId}`,
        lock: (queue, jobId) => `${prefix}:${queue}:${jobId}:lock`,
        scores: (revision) => ({
          young: `${base}:scores:${revision}:young`,
          old: `${base}:scores:${revision}:old`,
        }),
      };
    },
  };
}
