import { FAILURES, type Failure, type FailureCode } from "./failure.ts";

/** What every error of rankfleet's SDK and queue is: recognise it by `code`, which is stable. */
export class RankfleetError extends Error {
  override readonly name: string = "RankfleetError";
  readonly code: FailureCode;
  /** The input at fault, e.g. `documents[3]`. */
  readonly field: string | undefined;
  /**
   * Whether the same call is likely to succeed a little later by itself. False also where something must be done first,
   * such as starting a worker.
   */
  readonly isRetryable: boolean;
  readonly isRankfleetError: true = true;

  constructor(
    code: FailureCode,
    message: string,
    options: { field?: string | undefined; cause?: unknown } = {},
  ) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.field = options.field;
    this.isRetryable = FAILURES[code].isRetryable;
  }

  /** Recognises the error by its mark, so that two copies of this package agree. */
  static isInstance(error: unknown): error is RankfleetError {
    return typeof error === "object" && error !== null && "isRankfleetError" in error;
  }

  toFailure(): Failure {
    const { code, message, field } = this;
    return field === undefined ? { code, message } : { code, message, field };
  }
}

/** One thing that is wrong with a request. */
export interface RequestIssue {
  readonly field: string;
  readonly message: string;
}

/** The request breaks the contract. All issues at once; `field` is the first one's. */
export class InvalidRequestError extends RankfleetError {
  override readonly name = "InvalidRequestError";
  readonly issues: readonly RequestIssue[];

  constructor(issues: readonly RequestIssue[], code: FailureCode = "invalid_request") {
    super(code, issues.map(({ field, message }) => `${field}: ${message}`).join("; "), {
      field: issues[0]?.field,
    });
    this.issues = issues;
  }

  /** A failure names its field beside the message, so a single issue's goes without it. */
  override toFailure(): Failure {
    const [only, ...others] = this.issues;
    return only === undefined || others.length > 0
      ? super.toFailure()
      : { code: this.code, ...only };
  }
}

/** The key stands for another request. */
export function idempotencyConflict(): InvalidRequestError {
  return new InvalidRequestError(
    [{ field: "idempotencyKey", message: "was used before, for another request; use a new key" }],
    "idempotency_conflict",
  );
}

/** No worker has offered this model, or none that is alive serves this revision of it. */
export class ModelNotServedError extends RankfleetError {
  override readonly name = "ModelNotServedError";
  readonly model: string;
  readonly served: readonly string[];

  /** @param served The models that are; or with a revision, the model's revisions that are. */
  constructor(model: string, served: readonly string[], revision?: string) {
    const field = revision === undefined ? "model" : "revision";
    const what = revision === undefined ? `"${model}"` : `revision ${revision} of "${model}"`;
    const offer =
      served.length === 0 ? `no ${field} is served now` : `served: ${served.join(", ")}`;
    super(
      "model_not_served",
      `${field}: no worker serves ${what} (${offer}); start one with rankfleet worker --model, or name one that is served`,
      { field },
    );
    this.model = model;
    this.served = served;
  }
}

/** The job was not accepted, or did not end, by its deadline. */
export class DeadlineExceededError extends RankfleetError {
  override readonly name = "DeadlineExceededError";
}

/** The backlog is at its bound, or Redis has no room (`maxmemory` under `noeviction`). */
export class BackpressureError extends RankfleetError {
  override readonly name = "BackpressureError";
  /**
   * Milliseconds until there should be room: queued tokens beyond the bound ÷ the fleet's measured tokens
   * a second. Absent if no worker is alive to measure, or Redis itself is full.
   */
  readonly etaMs: number | undefined;

  constructor(
    code: FailureCode,
    message: string,
    options: { field?: string | undefined; cause?: unknown; etaMs?: number | undefined } = {},
  ) {
    super(code, message, options);
    this.etaMs = options.etaMs;
  }
}

/** Somebody cancelled the job. */
export class JobCancelledError extends RankfleetError {
  override readonly name = "JobCancelledError";
}

/** Neither queue nor store knows the id, or it is not of the form of one. */
export class JobNotFoundError extends RankfleetError {
  override readonly name = "JobNotFoundError";
}

/** The job was given up; `code` says why. */
export class JobFailedError extends RankfleetError {
  override readonly name = "JobFailedError";
}

/** `close()` was called while the call waited, or before it. */
export class ClientClosedError extends RankfleetError {
  override readonly name = "ClientClosedError";
}

/** Redis did not answer within 5 s at first, or was gone for about 11 s since. */
export class RedisUnavailableError extends RankfleetError {
  override readonly name = "RedisUnavailableError";
}

/** The error that a stored failure stands for. */
export function toError(failure: Failure): RankfleetError {
  const { code, message, field } = failure;
  switch (code) {
    case "invalid_request":
    case "query_too_long":
    case "idempotency_conflict":
      return new InvalidRequestError([{ field: field ?? "request", message }], code);
    case "deadline_exceeded":
      return new DeadlineExceededError(code, message, { field });
    case "cancelled":
      return new JobCancelledError(code, message);
    case "job_not_found":
      return new JobNotFoundError(code, message);
    case "backpressure":
      return new BackpressureError(code, message);
    case "client_closed":
      return new ClientClosedError(code, message);
    case "redis_unavailable":
      return new RedisUnavailableError(code, message);
    default:
      return new JobFailedError(code, message, { field });
  }
}
