export {
  BackpressureError,
  ClientClosedError,
  DeadlineExceededError,
  InvalidRequestError,
  JobCancelledError,
  JobFailedError,
  JobNotFoundError,
  ModelNotServedError,
  idempotencyConflict,
  RankfleetError,
  RedisUnavailableError,
  toError,
} from "./errors.ts";
export type { RequestIssue } from "./errors.ts";
export { FAILURES, isFailureCode } from "./failure.ts";
export type { Failure, FailureCode } from "./failure.ts";
export { homeOf, isOfNewerVersion, parseJob } from "./job.ts";
export type { CascadeState, JobEnvelope, JobPayload, ScoringOptions } from "./job.ts";
export { formatJobId, jobIdOfAttempt, modelsOfId, newJobId, parseJobId } from "./job-id.ts";
export { DEFAULT_PREFIX, isPrefix, keysFor } from "./keys.ts";
export type { Keys, ModelKeys } from "./keys.ts";
export { parsePartRecord, PART_DOCUMENTS, partId, partIds, partsOf } from "./part.ts";
export type { JobPart, PartRecord, TextRange } from "./part.ts";
export { CLAIM_THRESHOLD_BYTES, encodeTexts } from "./payload.ts";
export { isModelId, LANES, MAX_DOCUMENTS, parseRequest } from "./request.ts";
export type {
  DocumentInput,
  Lane,
  ParsedRequest,
  RequestOptions,
  RerankRequest,
  Stage,
} from "./request.ts";
export { formatResult, parseResult } from "./result.ts";
export type { CompletedRecord, FailedRecord, RecordTimings, ResultRecord } from "./result.ts";
export { PROTOCOL_VERSION } from "./version.ts";
