import { hasFields, isOptional, isText, type Check } from "./check.ts";

/**
 * Every way in which a job or a document can fail: what it means, and whether trying again can help. The one table;
 * codes are stable.
 */
export const FAILURES: Readonly<Record<FailureCode, { readonly isRetryable: boolean }>> = {
  /** The request breaks the contract; `issues` name each field. */
  invalid_request: { isRetryable: false },
  /** The document has no text that a model could read. */
  invalid_document: { isRetryable: false },
  /** The query leaves no room for a document under `truncation: "only_second"`. */
  query_too_long: { isRetryable: false },
  /** The document does not fit and `longDocuments` says `refuse`, or it splits into too many parts. */
  document_too_long: { isRetryable: false },
  /** The idempotency key was used before, for another request. */
  idempotency_conflict: { isRetryable: false },
  /** No worker has ever offered this model, or none that is alive serves this revision of it. */
  model_not_served: { isRetryable: false },
  /** A worker's scores differ from the reference that the model's workers have agreed on; it does not start. */
  model_mismatch: { isRetryable: false },
  /** The message is of a protocol version that this process does not know. */
  unsupported_version: { isRetryable: false },
  /**
   * The claim check's texts are not in Redis: they outlived their time to live, or a failover has forgotten them and brought
   * the job first, whose producer writes both again. Final once all attempts are spent.
   */
  payload_missing: { isRetryable: true },
  /** The job's texts cannot be read back. */
  payload_corrupt: { isRetryable: false },
  /** The job was not scored by its deadline. */
  deadline_exceeded: { isRetryable: false },
  /** Somebody cancelled the job. */
  cancelled: { isRetryable: false },
  /** Neither a job nor a result is known by this id. */
  job_not_found: { isRetryable: false },
  /** The model threw on this pair, also when it ran alone. */
  inference_failed: { isRetryable: false },
  /** The model answered NaN or an infinity for this pair. */
  score_not_finite: { isRetryable: false },
  /** Two workers died while they tried this pair, or read this job, with nothing else beside it. */
  worker_killed: { isRetryable: false },
  /** A worker failed in a way that is not the job's fault; final once all attempts are spent. */
  worker_failed: { isRetryable: true },
  /** The backlog is at its bound, or Redis has no room for more jobs. */
  backpressure: { isRetryable: true },
  /** Redis cannot be reached, or the connection was lost for too long. */
  redis_unavailable: { isRetryable: true },
  /** `close()` was called on the client. */
  client_closed: { isRetryable: false },
};

export type FailureCode =
  | "invalid_request"
  | "invalid_document"
  | "query_too_long"
  | "document_too_long"
  | "idempotency_conflict"
  | "model_not_served"
  | "model_mismatch"
  | "unsupported_version"
  | "payload_missing"
  | "payload_corrupt"
  | "deadline_exceeded"
  | "cancelled"
  | "job_not_found"
  | "inference_failed"
  | "score_not_finite"
  | "worker_killed"
  | "worker_failed"
  | "backpressure"
  | "redis_unavailable"
  | "client_closed";

/** A failure as it is stored and sent. */
export interface Failure {
  readonly code: FailureCode;
  readonly message: string;
  /** What is at fault, e.g. `query` or `documents[3]`. */
  readonly field?: string | undefined;
}

/** Any text, for it may be one that only a newer version knows: see {@link withKnownCode}. */
const isCode: Check<FailureCode> = Object.assign(
  (value: unknown): value is FailureCode => isText(value),
  { flaw: (value: unknown) => isText.flaw(value) },
);

/** @internal */
export const isFailure: Check<Failure> = hasFields<Failure>({
  code: isCode,
  message: isText,
  field: isOptional(isText),
});

/** @internal A code of a newer version must not make the whole result unreadable. */
export function withKnownCode(failure: Failure): Failure {
  return isFailureCode(failure.code) ? failure : { ...failure, code: "worker_failed" };
}

/** @internal */
export function withKnownCodes(
  failures: Readonly<Record<string, Failure>>,
): Readonly<Record<string, Failure>> {
  return Object.fromEntries(
    Object.entries(failures).map(([at, failure]) => [at, withKnownCode(failure)]),
  );
}

export function isFailureCode(code: string): code is FailureCode {
  return Object.hasOwn(FAILURES, code);
}
