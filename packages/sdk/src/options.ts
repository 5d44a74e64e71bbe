import type { RedisSource } from "@rankfleet/queue";

export interface RerankClientOptions {
  /**
   * Where Redis is: `redis://…`, `rediss://…` for TLS, `redis-sentinel://…#master`, `redis-cluster://…`, or
   * ioredis's options. Default: `REDIS_URL`, else `redis://127.0.0.1:6379`.
   */
  readonly redis?: RedisSource;
  /** The model of requests that name none. Default `box`, the one that comes with rankfleet. */
  readonly model?: string;
  /** What all keys begin with; must be the workers' too. Default `rankfleet`. */
  readonly prefix?: string;
  /**
   * How long to wait for a worker to offer a model that none has offered yet, in milliseconds from the first
   * request that missed it, before a ModelNotServedError. Default 0. Set it where producers and workers start together.
   */
  readonly modelWaitMs?: number;
  /**
   * What happens while the backlog is as long as it may be, or Redis is full: `wait` (default) for room,
   * until the deadline or the signal ends it, or `fail` at once with a BackpressureError, whose `etaMs`
   * says when to come again.
   */
  readonly whenFull?: "wait" | "fail";
  /**
   * Told each time that a request waits for room or for its model to be served, and every five seconds while what is
   * queued has no worker, e.g. to show it.
   */
  readonly onWait?: (wait: { readonly etaMs: number | undefined; readonly reason: string }) => void;
  /** Requests with more candidates than this warn once in a process. `Infinity` silences it. Default 100. */
  readonly warnAboveDocuments?: number;
}

/** What is queued of a model. */
export interface ModelBacklog {
  readonly pairs: number;
  /** Characters of text. */
  readonly bytes: number;
  /** Until all of it is scored, in milliseconds. */
  readonly etaMs: number | undefined;
}

/** For calls that wait. */
export interface WaitOptions {
  /** Stops the wait; of `rerank` and `rerankMany` it also cancels the job. */
  readonly signal?: AbortSignal | undefined;
}

export interface RerankManyOptions extends WaitOptions {
  /** Yield in the order of the requests instead of as they complete. Default false. */
  readonly isOrdered?: boolean;
  /** Most documents that are under way or not yet taken by the caller. Default 10,000. */
  readonly maxPairsInFlight?: number;
  /** The same in characters of text. Default 32 Mi. */
  readonly maxCharactersInFlight?: number;
}
