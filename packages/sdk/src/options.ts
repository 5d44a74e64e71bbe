import { isRedisUrl, type RedisSource } from "@rankfleet/queue";
import { InvalidRequestError, isModelId, isPrefix } from "@rankfleet/queue/contract";

export interface RerankClientOptions {
  /**
   * Where Redis is: `redis://…`, `rediss://…` for TLS, `redis-sentinel://…#master`, `redis-cluster://…`, or
   * ioredis's options. Default: `REDIS_URL`, else `redis://127.0.0.1:6379`.
   */
  readonly redis?: RedisSource | undefined;
  /** The model of requests that name none. Default `box`, the one that comes with rankfleet. */
  readonly model?: string | undefined;
  /** What all keys in Redis begin with; must equal the workers' `--prefix`. Default `rankfleet`. */
  readonly prefix?: string | undefined;
  /**
   * How long to wait for a worker to offer a model that none has offered yet, in milliseconds from the first
   * request that missed it, before a ModelNotServedError. Default 0. Set it where producers and workers start together.
   */
  readonly modelWaitMs?: number | undefined;
  /**
   * What happens while the backlog is at its bound, or Redis is full: `wait` (default) waits for room until the
   * deadline or the signal ends it; `fail` throws a BackpressureError at once, whose `etaMs` says in how many
   * milliseconds there should be room.
   */
  readonly whenFull?: "wait" | "fail" | undefined;
  /**
   * Called each time that a request waits for room or for its model to be served, and every five seconds while queued
   * jobs have no live worker, e.g. to show it. `etaMs`: in how many milliseconds there should be room, if that is known.
   */
  readonly onWait?:
    | ((wait: { readonly etaMs: number | undefined; readonly reason: string }) => void)
    | undefined;
  /** The first request of a process with more documents than this emits a warning. `Infinity`: none. Default 100. */
  readonly warnAboveDocuments?: number | undefined;
}

/** What is queued of a model. */
export interface ModelBacklog {
  readonly pairs: number;
  /** Characters of text. */
  readonly bytes: number;
  /** Milliseconds until all of it is scored; undefined if no worker is alive. */
  readonly etaMs: number | undefined;
}

/** For calls that wait. */
export interface WaitOptions {
  /** Stops the wait; of `rerank` and `rerankMany` it also cancels the job. */
  readonly signal?: AbortSignal | undefined;
}

export interface RerankManyOptions extends WaitOptions {
  /** Yield outcomes in the order of the requests, not as they complete. Default false. */
  readonly isOrdered?: boolean | undefined;
  /** Most documents that are under way or not yet taken by the caller. Default 10,000. */
  readonly maxPairsInFlight?: number | undefined;
  /** The same in characters of text. Default 32 Mi (2^25). A single request of any size always goes. */
  readonly maxCharactersInFlight?: number | undefined;
}

/**
 * What TypeScript checks, for those who come without it, and what it cannot check.
 *
 * @throws InvalidRequestError that names each option.
 */
export function requireOptions(options: RerankClientOptions): void {
  const issues = Object.entries(options as Readonly<Record<string, unknown>>).flatMap(
    ([field, value]) => {
      const check = CHECKS[field];
      if (check === undefined) {
        return [{ field, message: `is no option; there are ${Object.keys(CHECKS).join(", ")}` }];
      }
      return value === undefined || check.isFit(value) ? [] : [{ field, message: check.message }];
    },
  );
  if (issues.length > 0) throw new InvalidRequestError(issues);
}

interface Check {
  readonly isFit: (value: unknown) => boolean;
  readonly message: string;
}

const isNumber = (value: unknown): boolean => typeof value === "number" && value >= 0;

const CHECKS: Readonly<Record<string, Check>> = {
  redis: {
    isFit: (value) =>
      typeof value === "string"
        ? isRedisUrl(value)
        : typeof value === "object" && value !== null && !("url" in value),
    message:
      "must be a URL (redis://…, rediss://…, redis-sentinel://…#master, redis-cluster://…) or ioredis's options, {host, port, …}",
  },
  model: {
    isFit: (value) => typeof value === "string" && isModelId(value),
    message: "must be letters, digits, '.', '_', '-' and '/'",
  },
  prefix: { isFit: isPrefix, message: "must be text without colons and braces" },
  modelWaitMs: { isFit: isNumber, message: "must be milliseconds, 0 or more" },
  whenFull: {
    isFit: (value) => value === "wait" || value === "fail",
    message: "must be wait or fail",
  },
  onWait: { isFit: (value) => typeof value === "function", message: "must be a function" },
  warnAboveDocuments: { isFit: isNumber, message: "must be a number, 0 or more" },
};
