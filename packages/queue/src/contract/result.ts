import {
  hasFields,
  isBoolean,
  isEither,
  isKindOf,
  isListOf,
  isNumber,
  isOneOf,
  isOptional,
  isRecordOf,
  isText,
} from "./check.ts";
import { RankfleetError } from "./errors.ts";
import { isMetadata, type Metadata } from "./metadata.ts";
import { isFailure, withKnownCode, withKnownCodes, type Failure } from "./failure.ts";
import { PROTOCOL_VERSION } from "./version.ts";

/** How a job ended, as it is stored. The first record that is written stays. */
export type ResultRecord = CompletedRecord | FailedRecord | CancelledRecord;

/** Columns rather than rows: a thousand documents are a few kilobytes. */
export interface CompletedRecord {
  readonly v: typeof PROTOCOL_VERSION;
  readonly state: "completed";
  readonly model: string;
  readonly revision: string;
  readonly dtype: string;
  readonly activation: "sigmoid" | "identity";
  /** Whether these scores are the same in any company; absent if the worker did not know. */
  readonly batchInvariant?: boolean | undefined;
  /**
   * One for each document, in the request's order; null where it failed, or an earlier stage of a
   * cascade left it behind. float32, 9 digits.
   */
  readonly logits: readonly (number | null)[];
  /** The logits fused with the request's first-stage scores, if it had some and the model can. */
  readonly fused?: readonly (number | null)[] | undefined;
  /** Tokens read for each document, query and special tokens included. */
  readonly tokens: readonly number[];
  /** Indices of documents of which some text was not read. */
  readonly truncated: readonly number[];
  /** Why documents failed, by index. */
  readonly failures: Readonly<Record<string, Failure>>;
  readonly ids?: readonly (string | null)[] | undefined;
  /** Texts by index, if they were asked for. */
  readonly texts?: Readonly<Record<string, string>> | undefined;
  readonly topN?: number | undefined;
  readonly rawScores?: boolean | undefined;
  /** Forward-pass rows. */
  readonly pairs: number;
  /** How many of them had been scored before, and came from the score cache. Absent: none. */
  readonly cached?: number | undefined;
  /** Tokens that earlier stages of a cascade have read. Absent: there were none. */
  readonly earlierTokens?: number | undefined;
  readonly timings: RecordTimings;
  readonly metadata?: Metadata | undefined;
  readonly digest?: string | undefined;
}

export interface RecordTimings {
  /** From enqueue to the worker's hand. */
  readonly queuedMs: number;
  readonly tokenizeMs: number;
  /** From tokenised to scored. */
  readonly scoreMs: number;
  /** From enqueue to this record. */
  readonly totalMs: number;
}

export interface FailedRecord {
  readonly v: typeof PROTOCOL_VERSION;
  readonly state: "failed";
  readonly failure: Failure;
  readonly digest?: string | undefined;
}

export interface CancelledRecord {
  readonly v: typeof PROTOCOL_VERSION;
  readonly state: "cancelled";
  readonly digest?: string | undefined;
}

const v = isOneOf(PROTOCOL_VERSION);
const digest = isOptional(isText);
const isNumberOrNull = isEither(isNumber, isOneOf(null));

const isCompleted = hasFields<CompletedRecord>({
  v,
  state: isOneOf("completed"),
  model: isText,
  revision: isText,
  dtype: isText,
  activation: isOneOf("sigmoid", "identity"),
  batchInvariant: isOptional(isBoolean),
  logits: isListOf(isNumberOrNull),
  fused: isOptional(isListOf(isNumberOrNull)),
  tokens: isListOf(isNumber),
  truncated: isListOf(isNumber),
  failures: isRecordOf(isFailure),
  ids: isOptional(isListOf(isEither(isText, isOneOf(null)))),
  texts: isOptional(isRecordOf(isText)),
  topN: isOptional(isNumber),
  rawScores: isOptional(isBoolean),
  pairs: isNumber,
  cached: isOptional(isNumber),
  earlierTokens: isOptional(isNumber),
  timings: hasFields<RecordTimings>({
    queuedMs: isNumber,
    tokenizeMs: isNumber,
    scoreMs: isNumber,
    totalMs: isNumber,
  }),
  metadata: isOptional(isMetadata),
  digest,
});

const isFailed = hasFields<FailedRecord>({
  v,
  state: isOneOf("failed"),
  failure: isFailure,
  digest,
});

const isCancelled = hasFields<CancelledRecord>({ v, state: isOneOf("cancelled"), digest });

const isRecord = isKindOf<ResultRecord>("state", {
  completed: isCompleted,
  failed: isFailed,
  cancelled: isCancelled,
});

export function formatResult(record: ResultRecord): string {
  return JSON.stringify(record);
}

/** @throws RankfleetError `payload_corrupt` if the record cannot be read. */
export function parseResult(json: string): ResultRecord {
  let value: unknown;
  try {
    value = JSON.parse(json);
  } catch (cause) {
    throw new RankfleetError("payload_corrupt", "the result record is not JSON", { cause });
  }
  if (!isRecord(value)) {
    const { path, message } = isRecord.flaw(value);
    throw new RankfleetError(
      "payload_corrupt",
      `not a result record: ${path.join(".")}: ${message}`,
    );
  }
  switch (value.state) {
    case "completed":
      return { ...value, failures: withKnownCodes(value.failures) };
    case "failed":
      return { ...value, failure: withKnownCode(value.failure) };
    default:
      return value;
  }
}
