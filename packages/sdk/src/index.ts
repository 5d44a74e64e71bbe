export { RerankClient } from "./client.ts";
export { DeadLetterBox } from "./dead-letters.ts";
export type { DeadLetter, DeadLetterDetails, PoisonPair, RedriveOutcome } from "@rankfleet/queue";
export { JobHandle } from "./job.ts";
export type { JobStatus } from "./job.ts";
export type {
  ModelBacklog,
  RerankClientOptions,
  RerankManyOptions,
  WaitOptions,
} from "./options.ts";
export type { FailedDocument, RankedDocument, RerankResult, ScoredDocument } from "./result.ts";
export type { RerankOutcome } from "./stream.ts";
export {
  BackpressureError,
  ClientClosedError,
  DeadlineExceededError,
  InvalidRequestError,
  JobCancelledError,
  JobFailedError,
  JobNotFoundError,
  ModelNotServedError,
  RankfleetError,
  RedisUnavailableError,
} from "@rankfleet/queue/contract";
export type {
  DocumentInput,
  Failure,
  FailureCode,
  Lane,
  RequestIssue,
  RerankRequest,
  Stage,
} from "@rankfleet/queue/contract";
