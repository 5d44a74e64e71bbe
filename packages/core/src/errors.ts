/**
 * Everything that core refuses or fails at, by a stable `code`.
 *
 * - `invalid_input`: the query or a document cannot be scored as given; `field` names it.
 * - `query_too_long`: the query leaves no room for a document under the chosen truncation.
 * - `document_too_long`: the document does not fit and the caller asked to refuse rather than cut.
 * - `model_folder_invalid`: a file of the model folder is missing or unreadable.
 * - `model_unsupported`: the folder is fine, but no family here can score with it.
 * - `device_unavailable`: the asked-for device or provider cannot run here.
 * - `inference_failed`: the forward pass threw for this pair, also when it ran alone.
 * - `score_not_finite`: the model answered NaN or ±Infinity for this pair.
 * - `process_killed`: processes died while they tried this pair alone; told by whoever watched them.
 * - `engine_crashed`: a thread died; what it held may be tried again elsewhere.
 * - `engine_closed`: the reranker was closed before this request was scored.
 */
export type CoreErrorCode =
  | "invalid_input"
  | "query_too_long"
  | "document_too_long"
  | "model_folder_invalid"
  | "model_unsupported"
  | "device_unavailable"
  | "inference_failed"
  | "score_not_finite"
  | "process_killed"
  | "engine_crashed"
  | "engine_closed";

/** A {@link CoreError} as plain data, to cross threads and to stand beside a failed document. */
export interface CoreFailure {
  readonly code: CoreErrorCode;
  readonly message: string;
  readonly field?: string;
}

export class CoreError extends Error {
  override readonly name = "CoreError";
  readonly code: CoreErrorCode;
  /** The input that is at fault, e.g. `query` or `documents[3]`. */
  readonly field: string | undefined;
  readonly isRankfleetCoreError: true = true;

  constructor(
    code: CoreErrorCode,
    message: string,
    options: { field?: string | undefined; cause?: unknown } = {},
  ) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.field = options.field;
  }

  /** Recognises the error by its marker, so that two copies of this package agree. */
  static isInstance(error: unknown): error is CoreError {
    return typeof error === "object" && error !== null && "isRankfleetCoreError" in error;
  }
}

/** The error as data; anything that is not a {@link CoreError} becomes `fallback`. */
export function toFailure(error: unknown, fallback: CoreErrorCode): CoreFailure {
  if (CoreError.isInstance(error)) {
    const { code, message, field } = error;
    return field === undefined ? { code, message } : { code, message, field };
  }
  return { code: fallback, message: error instanceof Error ? error.message : String(error) };
}

export function fromFailure(failure: CoreFailure): CoreError {
  return new CoreError(failure.code, failure.message, { field: failure.field });
}
