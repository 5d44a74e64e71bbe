import { CoreError, type CoreFailure } from "@rankfleet/core";
import { fromRedisError } from "@rankfleet/queue";
import { RankfleetError, toError, type Failure, type FailureCode } from "@rankfleet/queue/contract";

/** The one place where core's failures get the contract's codes. */
const CODES: Readonly<
  Record<CoreFailure["code"], { ofJob: FailureCode; ofDocument: FailureCode }>
> = {
  invalid_input: { ofJob: "invalid_request", ofDocument: "invalid_document" },
  query_too_long: { ofJob: "query_too_long", ofDocument: "query_too_long" },
  document_too_long: { ofJob: "document_too_long", ofDocument: "document_too_long" },
  inference_failed: { ofJob: "worker_failed", ofDocument: "inference_failed" },
  score_not_finite: { ofJob: "worker_failed", ofDocument: "score_not_finite" },
  process_killed: { ofJob: "worker_killed", ofDocument: "worker_killed" },
  // Of the worker, not of the work: another attempt may well succeed.
  model_folder_invalid: { ofJob: "worker_failed", ofDocument: "worker_failed" },
  model_unsupported: { ofJob: "worker_failed", ofDocument: "inference_failed" },
  device_unavailable: { ofJob: "worker_failed", ofDocument: "worker_failed" },
  engine_crashed: { ofJob: "worker_failed", ofDocument: "worker_failed" },
  engine_closed: { ofJob: "worker_failed", ofDocument: "worker_failed" },
};

/** What a document's failure in core is called in its result. */
export function documentFailure(failure: CoreFailure): Failure {
  return { ...failure, code: CODES[failure.code].ofDocument };
}

const AGAIN = " (not tried again by this revision)";

/** A document's failure, as core would tell it again. */
export function coreFailure({ code, message }: Failure): CoreFailure {
  const [name] = Object.entries(CODES).find(([, { ofDocument }]) => ofDocument === code) ?? [];
  return {
    code: (name ?? "inference_failed") as CoreFailure["code"],
    message: message.endsWith(AGAIN) ? message : message + AGAIN,
  };
}

/** What an error means for the job: its code says whether another attempt can help. */
export function jobError(error: unknown): RankfleetError {
  if (RankfleetError.isInstance(error)) return error;
  const ofRedis = fromRedisError(error);
  if (RankfleetError.isInstance(ofRedis)) return ofRedis;
  if (!CoreError.isInstance(error)) {
    return new RankfleetError(
      "worker_failed",
      error instanceof Error ? error.message : String(error),
      { cause: error },
    );
  }
  const { message, field } = error;
  const code = field === "payload" ? "payload_corrupt" : CODES[error.code].ofJob;
  return toError({ code, message, field });
}
