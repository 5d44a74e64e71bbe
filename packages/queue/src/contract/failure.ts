import { z } from "zod";

/**
 * Every way in which a job or a document can fail: what it means, whether trying again can help, and
 * the HTTP status that a gateway answers with. The one table; codes are stable.
 */
export const FAILURES: Readonly<
  Record<FailureCode, { readonly isRetryable: boolean; readonly httpStatus: number }>
> = {
  /** The request breaks the contract; `issues` name each field. */
  invalid_request: { isRetryable: false, httpStatus: 400 },
  /** The document has no text that a model could read. */
  invalid_document: { isRetryable: false, httpStatus: 422 },
  /** The query leaves no room for a document under `truncation: "only_second"`. */
  query_too_long: { isRetryable: false, httpStatus: 422 },
  /** The document does not fit and `longDocuments` says `refuse`, or it splits into too many parts. */
  document_too_long: { isRetryable: false, httpStatus: 422 },
  /** The idempotency key was used before, for another request. */
  idempotency_conflict: { isRetryable: false, httpStatus: 409 },
  /** No worker has ever offered this model. */
  model_not_served: { isRetryable: false, httpStatus: 404 },
  /** A worker scores otherwise than those that serve the model already. */
  model_mismatch: { isRetryable: false, httpStatus: 500 },
  /** The message is of a protocol version that this process does not know. */
  unsupported_version: { isRetryable: false, httpStatus: 400 },
  /** The claim check's texts are gone from Redis: they outlived their time to live. */
  payload_missing: { isRetryable: false, httpStatus: 410 },
  /** The job's texts cannot be read back. */
  payload_corrupt: { isRetryable: false, httpStatus: 400 },
  deadline_exceeded: { isRetryable: false, httpStatus: 504 },
  cancelled: { isRetryable: false, httpStatus: 499 },
  /** Neither a job nor a result is known by this id. */
  job_not_found: { isRetryable: false, httpStatus: 404 },
  /** The model threw on this pair, also when it ran alone. */
  inference_failed: { isRetryable: false, httpStatus: 500 },
  /** The model answered NaN or an infinity for this pair. */
  score_not_finite: { isRetryable: false, httpStatus: 500 },
  /** Two workers died while they tried this pair, or read this job, with nothing else beside it. */
  worker_killed: { isRetryable: false, httpStatus: 500 },
  /** A worker failed in a way that is not the job's fault; this code is final when tries run out. */
  worker_failed: { isRetryable: true, httpStatus: 500 },
  /** The backlog is as long as it may be, or Redis has no room for more jobs. */
  backpressure: { isRetryable: true, httpStatus: 429 },
  redis_unavailable: { isRetryable: true, httpStatus: 503 },
  client_closed: { isRetryable: false, httpStatus: 499 },
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

/** @internal */
export const failureSchema: z.ZodType<Failure> = z.object({
  code: z.enum(Object.keys(FAILURES) as [FailureCode, ...FailureCode[]]),
  message: z.string(),
  field: z.string().optional(),
});

export function isFailureCode(code: string): code is FailureCode {
  return Object.hasOwn(FAILURES, code);
}
