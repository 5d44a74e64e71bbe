import {
  hasFields,
  isBoolean,
  isEither,
  isListOf,
  isNumber,
  isOneOf,
  isOptional,
  isRecordOf,
  isText,
  isWholeFrom,
  type Check,
} from "./check.ts";
import { RankfleetError } from "./errors.ts";
import { isFailure, withKnownCodes, type Failure } from "./failure.ts";
import { isMetadata, type Metadata } from "./metadata.ts";
import type { JobPart } from "./part.ts";
import { LANES, type Lane, type Stage } from "./request.ts";
import { PROTOCOL_VERSION } from "./version.ts";

/** What stands in the queue: everything about a job but its texts, which may be beside it. */
export interface JobEnvelope {
  readonly v: typeof PROTOCOL_VERSION;
  readonly model: string;
  /** How many documents, and how many characters they hold: what backlog is counted in. */
  readonly documents: number;
  readonly characters: number;
  readonly payload: JobPayload;
  readonly options: ScoringOptions;
  /** The documents' own ids, in order, if any has one. */
  readonly ids?: readonly (string | null)[] | undefined;
  /** What the first stage gave the documents, in order, if the request carries it. */
  readonly firstStageScores?: readonly number[] | undefined;
  /** Present in every job of a cascade. */
  readonly cascade?: CascadeState | undefined;
  /** Present in every part of a large job. */
  readonly part?: JobPart | undefined;
  /** The one revision of the model that may score the job. */
  readonly revision?: string | undefined;
  readonly lane: Lane;
  readonly tenant?: string | undefined;
  /** Milliseconds since 1970 by Redis's clock, the only clock that all sides share. */
  readonly enqueuedAt: number;
  readonly deadline?: number | undefined;
  /** Which producer hears of the result. */
  readonly replyTo: string;
  /** SHA-256 of query, texts and options, to tell a repeat from a conflict. */
  readonly digest?: string | undefined;
  readonly metadata?: Metadata | undefined;
  /** W3C trace context. */
  readonly trace?: Readonly<Record<string, string>> | undefined;
}

/** Where a cascade stands: what its earlier stages have left, and what comes after this one. */
export interface CascadeState {
  /** How many of this stage's best go on; absent in the last stage. */
  readonly keep?: number | undefined;
  /** The stages after this one. The result is kept under the last one's model. */
  readonly next: readonly Stage[];
  /** Documents of the whole request. */
  readonly documents: number;
  /** For each document here, its place in the request; absent in the first stage. */
  readonly indices?: readonly number[] | undefined;
  /** Documents that earlier stages could not score, by place in the request. */
  readonly failures: Readonly<Record<string, Failure>>;
  /** The models of earlier stages: their texts are kept until the job is settled, and freed then. */
  readonly past: readonly string[];
  /** Pairs that earlier stages have scored, how many of them came from the score cache, and their tokens. */
  readonly pairs: number;
  readonly cached?: number | undefined;
  readonly tokens?: number | undefined;
}

/**
 * The texts as JSON, `{"query": …, "documents": […]}`: in the job itself while they are few, as a
 * string so that nobody parses them before the tokenising thread does; else gzipped under a key of
 * their own.
 */
export type JobPayload = { readonly json: string } | { readonly claim: string };

/** The part of a request that shapes its result. */
export interface ScoringOptions {
  readonly topN?: number | undefined;
  readonly returnDocuments?: boolean | undefined;
  readonly rawScores?: boolean | undefined;
  readonly maxTokensPerDocument?: number | undefined;
  readonly longDocuments?: "truncate" | "split" | "refuse" | undefined;
  readonly truncation?: "longest_first" | "only_second" | undefined;
}

const isPayload: Check<JobPayload> = isEither(
  hasFields<{ readonly json: string }>({ json: isText }),
  hasFields<{ readonly claim: string }>({ claim: isText }),
);

const isOptions = hasFields<ScoringOptions>({
  topN: isOptional(isWholeFrom(1)),
  returnDocuments: isOptional(isBoolean),
  rawScores: isOptional(isBoolean),
  maxTokensPerDocument: isOptional(isWholeFrom(1)),
  longDocuments: isOptional(isOneOf("truncate", "split", "refuse")),
  truncation: isOptional(isOneOf("longest_first", "only_second")),
});

const isCascade = hasFields<CascadeState>({
  keep: isOptional(isWholeFrom(1)),
  next: isListOf(hasFields<Stage>({ model: isText, keep: isOptional(isWholeFrom(1)) })),
  documents: isWholeFrom(1),
  indices: isOptional(isListOf(isWholeFrom(0))),
  failures: isRecordOf(isFailure),
  past: isListOf(isText),
  pairs: isWholeFrom(0),
  cached: isOptional(isWholeFrom(0)),
  tokens: isOptional(isWholeFrom(0)),
});

const isPart = hasFields<JobPart>({
  job: isText,
  index: isWholeFrom(0),
  of: isWholeFrom(1),
  from: isWholeFrom(0),
  documents: isWholeFrom(1),
});

const isJob = hasFields<JobEnvelope>({
  v: isOneOf(PROTOCOL_VERSION),
  model: isText,
  documents: isWholeFrom(1),
  characters: isWholeFrom(0),
  payload: isPayload,
  options: isOptions,
  ids: isOptional(isListOf(isEither(isText, isOneOf(null)))),
  firstStageScores: isOptional(isListOf(isNumber)),
  cascade: isOptional(isCascade),
  part: isOptional(isPart),
  revision: isOptional(isText),
  lane: isOneOf(...LANES),
  tenant: isOptional(isText),
  enqueuedAt: isNumber,
  deadline: isOptional(isNumber),
  replyTo: isText,
  digest: isOptional(isText),
  metadata: isOptional(isMetadata),
  trace: isOptional(isRecordOf(isText)),
});

/**
 * Reads what was found in the queue, which anybody may have put there.
 *
 * @throws RankfleetError `unsupported_version` for a message of another version, `invalid_request` for
 *   anything that is not a job, naming the field.
 */
export function parseJob(data: unknown): JobEnvelope {
  const version = versionOf(data);
  if (typeof version === "number" && version !== PROTOCOL_VERSION) {
    throw new RankfleetError(
      "unsupported_version",
      `the job is of protocol version ${version}; this worker knows ${PROTOCOL_VERSION}`,
      { field: "v" },
    );
  }
  if (isJob(data)) {
    const { cascade } = data;
    if (cascade === undefined) return data;
    return { ...data, cascade: { ...cascade, failures: withKnownCodes(cascade.failures) } };
  }
  const { path, message } = isJob.flaw(data);
  const field = path.join(".") || "job";
  throw new RankfleetError("invalid_request", `not a rerank job: ${field}: ${message}`, { field });
}

/** The model under which the job's result is kept: its own, or the last of its cascade. */
export function homeOf({ model, cascade }: Pick<JobEnvelope, "model" | "cascade">): string {
  return cascade?.next.at(-1)?.model ?? model;
}

/**
 * Whether a message seems to be from an SDK that is newer than this worker: one of the next ten versions. It
 * then waits for a worker that knows it; other numbers were never a version.
 */
export function isOfNewerVersion(data: unknown): boolean {
  const version = versionOf(data);
  return (
    Number.isInteger(version) &&
    Number(version) > PROTOCOL_VERSION &&
    Number(version) <= PROTOCOL_VERSION + 10
  );
}

function versionOf(data: unknown): unknown {
  return typeof data === "object" && data !== null && "v" in data ? data.v : undefined;
}
