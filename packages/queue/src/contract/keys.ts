import type { Lane } from "./request.ts";

/**
 * Every key in Redis. All keys of one model carry the same hash tag, `{model}`, so on a cluster they
 * lie on one slot and scripts may touch several of them; models spread over slots.
 *
 * | key | what | lives |
 * |---|---|---|
 * | `<prefix>:{model}:…` | BullMQ's own, for the queue named `{model}`: lanes standard and bulk | |
 * | `<prefix>:{model}-interactive:…` | likewise, for the lane that never stands behind the others | |
 * | `<prefix>:{model}-express:…` | likewise, for jobs of any lane whose tenant has had less than its share | |
 * | `<prefix>:{model}:attempt:<job>` | how often the request of a key was made again: see `Repeats` | a month |
 * | `<prefix>:{model}:payload:<job>` | claim check: gzipped texts | until settled, at most a week |
 * | `<prefix>:{model}:result:<job>` | the result record: the one truth about how a job ended | a day |
 * | `<prefix>:{model}:parts:<job>` | hash: the parts of a large job until they are merged | until merged |
 * | `<prefix>:{model}:suspects:<job>` | hash: what is known of a job whose workers died, see `CareNotes` | until settled, at most a day |
 * | `<prefix>:{model}:poison` | hash: revision and digest → why this pair is not tried again | until forgiven |
 * | `<prefix>:{model}:queued` | hash: job → what it adds to the backlog | until settled |
 * | `<prefix>:{model}:backlog` | hash: pairs and bytes queued, in all and by tenant; virtual clocks | while jobs are queued |
 * | `<prefix>:{model}:limits` | hash: most pairs and bytes queued, tenants' weights | |
 * | `<prefix>:{model}:workers` | sorted set of worker ids by last sign of life | |
 * | `<prefix>:{model}:joining` | the worker that is about to serve the model, so that two do not begin at once | seconds |
 * | `<prefix>:{model}:rates` | hash: worker id → tokens a second, characters a token | |
 * | `<prefix>:{model}:revisions` | hash: revision → last sign of life | |
 * | `<prefix>:{model}:scores:<revision>:young`, `…:old` | hashes: a document's digest → its score | cache TTL |
 * | `<prefix>:models` | hash of model id → facts, written by workers | |
 * | `<prefix>:limits` | hash: most pairs and bytes queued for all models together | |
 * | `<prefix>:notices` | channel, no key: workers hear of cancelled jobs and poisonous pairs | |
 * | `<prefix>:ended:<producer>` | channel, no key: a producer hears of its jobs' ends | |
 */
export interface Keys {
  readonly prefix: string;
  readonly models: string;
  /** Most that may be queued for all models together. */
  readonly limits: string;
  /** The channel on which workers hear `cancelled <model> <job>` and `poison <model>`. */
  readonly notices: string;
  /** The channel on which a producer hears of its jobs' ends: `<job>`, or `<job> <record>`. */
  ended(producer: string): string;
  model(id: string): ModelKeys;
}

export interface ModelKeys {
  /** The names of the model's BullMQ queues, most urgent first. */
  readonly queues: readonly string[];
  /** The name of the BullMQ queue in which a lane's jobs stand. */
  queue(lane: Lane): string;
  /** The name of the BullMQ queue of those who need not stand in line: see `Backlog`. */
  readonly express: string;
  /** What the names of the model's keys begin with. */
  readonly base: string;
  readonly workers: string;
  readonly joining: string;
  readonly rates: string;
  readonly revisions: string;
  readonly backlog: string;
  readonly queued: string;
  readonly limits: string;
  readonly poison: string;
  suspects(jobId: string): string;
  result(jobId: string): string;
  attempt(jobId: string): string;
  payload(jobId: string): string;
  /** The parts of a large job. */
  parts(jobId: string): string;
  /** BullMQ's lock in one of the queues: holds the token of the attempt that may settle the job. */
  lock(queue: string, jobId: string): string;
  /** The two halves of the score cache of one revision. */
  scores(revision: string): { readonly young: string; readonly old: string };
}

export const DEFAULT_PREFIX = "rankfleet";

/** Colons and braces have a meaning in keys. */
export function isPrefix(value: unknown): value is string {
  return typeof value === "string" && /^[^:{}]+$/u.test(value);
}

export function keysFor(prefix: string = DEFAULT_PREFIX): Keys {
  const known = new Map<string, ModelKeys>();
  return {
    prefix,
    models: `${prefix}:models`,
    limits: `${prefix}:limits`,
    notices: `${prefix}:notices`,
    ended: (producer) => `${prefix}:ended:${producer}`,
    model: (id) => {
      let keys = known.get(id);
      if (keys === undefined) {
        if (known.size === MOST_KNOWN) known.clear();
        keys = keysOfModel(prefix, id);
        known.set(id, keys);
      }
      return keys;
    },
  };
}

/** Asked for several times a job; names may come from anywhere, so not all are kept. */
const MOST_KNOWN = 1000;

function keysOfModel(prefix: string, id: string): ModelKeys {
  const tag = `{${id}}`;
  const base = `${prefix}:${tag}`;
  const interactive = `${tag}-interactive`;
  const express = `${tag}-express`;
  return {
    queues: [express, interactive, tag],
    queue: (lane) => (lane === "interactive" ? interactive : tag),
    express,
    base,
    workers: `${base}:workers`,
    joining: `${base}:joining`,
    rates: `${base}:rates`,
    revisions: `${base}:revisions`,
    backlog: `${base}:backlog`,
    queued: `${base}:queued`,
    limits: `${base}:limits`,
    poison: `${base}:poison`,
    suspects: (jobId) => `${base}:suspects:${jobId}`,
    result: (jobId) => `${base}:result:${jobId}`,
    attempt: (jobId) => `${base}:attempt:${jobId}`,
    parts: (jobId) => `${base}:parts:${jobId}`,
    payload: (jobId) => `${base}:payload:${jobId}`,
    lock: (queue, jobId) => `${prefix}:${queue}:${jobId}:lock`,
    scores: (revision) => ({
      young: `${base}:scores:${revision}:young`,
      old: `${base}:scores:${revision}:old`,
    }),
  };
}
