import { z } from "zod";
import { RankfleetError } from "./errors.ts";
import { failureSchema, type Failure } from "./failure.ts";
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
  readonly metadata?: Readonly<Record<string, string | number | boolean | null>> | undefined;
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

const v = z.literal(PROTOCOL_VERSION);
const digest = z.string().optional();

/** Columns are checked in one go: zod makes an object for each element, and there are hundreds of thousands a second. */
const numbers = z.custom<number[]>(
  (value) => Array.isArray(value) && value.every((each) => typeof each === "number"),
  "expected numbers",
);
const numbersOrNull = z.custom<(number | null)[]>(
  (value) =>
    Array.isArray(value) && value.every((each) => each === null || typeof each === "number"),
  "expected numbers, or null",
);

const schema = z.discriminatedUnion("state", [
  z.object({
    v,
    state: z.literal("completed"),
    model: z.string(),
    revision: z.string(),
    dtype: z.string(),
    activation: z.enum(["sigmoid", "identity"]),
    batchInvariant: z.boolean().optional(),
    logits: numbersOrNull,
    fused: numbersOrNull.optional(),
    tokens: numbers,
    truncated: numbers,
    failures: z.record(z.string(), failureSchema),
    ids: z.array(z.string().nullable()).optional(),
    texts: z.record(z.string(), z.string()).optional(),
    topN: z.number().optional(),
    rawScores: z.boolean().optional(),
    pairs: z.number(),
    cached: z.number().optional(),
    earlierTokens: z.number().optional(),
    timings: z.object({
      queuedMs: z.number(),
      tokenizeMs: z.number(),
      scoreMs: z.number(),
      totalMs: z.number(),
    }),
    metadata: z
      .record(z.string(), z.union([z.string(), z.number(), z.boolean(), z.null()]))
      .optional(),
    digest,
  }),
  z.object({ v, state: z.literal("failed"), failure: failureSchema, digest }),
  z.object({ v, state: z.literal("cancelled"), digest }),
]);

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
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  const issue = parsed.error.issues[0]!;
  throw new RankfleetError(
    "payload_corrupt",
    `not a result record: ${issue.path.join(".")}: ${issue.message}`,
  );
}
