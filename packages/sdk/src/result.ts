import {
  toError,
  type CompletedRecord,
  type Failure,
  type ResultRecord,
} from "@rankfleet/queue/contract";
import { JobCancelledError } from "@rankfleet/queue/contract";

/** What came of one request. */
export interface RerankResult {
  /** The job's id, good for `client.job(id)` in any process. */
  readonly id: string;
  /** The model that scored; of a cascade the last one. */
  readonly model: string;
  /**
   * Digest of the model's files, 12 hexadecimal digits: the same revision gives the same scores. Two, joined by `+`, if
   * parts of a large request were scored by both while the fleet changed; pin `revision` in the request where that matters.
   */
  readonly revision: string;
  /** Of the weights, e.g. `fp32` or `int8`; two as above. */
  readonly dtype: string;
  /** Whether this model file gives a pair the same score in any batch; absent if the worker did not know. */
  readonly batchInvariant?: boolean;
  /** Whether first-stage scores went into the ranking. */
  readonly isFused: boolean;
  /** Best first, at most `topN`; after them the documents that could not be scored. */
  readonly results: readonly RankedDocument[];
  /** Of all stages of a cascade together. */
  readonly usage: {
    /** Forward passes' rows: more than the documents if some were split. */
    readonly pairs: number;
    /** How many of these had been scored before, and cost no pass: they came from the score cache. */
    readonly cachedPairs: number;
    /** Tokens read, padding not counted. */
    readonly tokens: number;
  };
  readonly timings: {
    /** From enqueue to a worker's hand, in milliseconds. */
    readonly queuedMs: number;
    /** Turning the texts into tokens, in milliseconds. */
    readonly tokenizeMs: number;
    /** From tokenised to scored, in milliseconds: waiting for a device, and the forward passes. */
    readonly scoreMs: number;
    /** From enqueue to the stored result, in milliseconds. */
    readonly totalMs: number;
  };
  readonly metadata?: Readonly<Record<string, string | number | boolean | null>>;
}

export type RankedDocument = ScoredDocument | FailedDocument;

interface DocumentReference {
  /** Place in the request's `documents`. */
  readonly index: number;
  /** The document's own id, if it has one. */
  readonly id?: string;
}

export interface ScoredDocument extends DocumentReference {
  /**
   * What the ranking goes by: the logit (fused with the first stage's score, if the request has one for each document
   * and the model can) through the model's activation: 0 … 1 for a sigmoid. With `rawScores`, without the activation.
   */
  readonly score: number;
  /** The model's own answer: any number, higher is better. */
  readonly logit: number;
  /** Tokens read for it, query and special tokens included. */
  readonly tokens: number;
  /** Some of its text was not read. */
  readonly truncated: boolean;
  /** Its text, with `returnDocuments`. */
  readonly document?: string;
  readonly error?: undefined;
}

export interface FailedDocument extends DocumentReference {
  /** Why it has no score: `invalid_document`, `document_too_long`, `score_not_finite` … */
  readonly error: Failure;
}

/**
 * The stored record as the caller sees it.
 *
 * @throws the error that the record stands for, if the job failed or was cancelled.
 */
export function toResult(id: string, record: ResultRecord): RerankResult {
  switch (record.state) {
    case "failed":
      throw toError(record.failure);
    case "cancelled":
      throw new JobCancelledError("cancelled", `job ${id} was cancelled`);
    case "completed":
      return {
        id,
        model: record.model,
        revision: record.revision,
        dtype: record.dtype,
        ...(record.batchInvariant === undefined ? {} : { batchInvariant: record.batchInvariant }),
        isFused: record.fused !== undefined,
        results: rank(record),
        usage: {
          pairs: record.pairs,
          cachedPairs: record.cached ?? 0,
          tokens: record.tokens.reduce((sum, tokens) => sum + tokens, record.earlierTokens ?? 0),
        },
        timings: record.timings,
        ...(record.metadata === undefined ? {} : { metadata: record.metadata }),
      };
    default:
      return record satisfies never;
  }
}

function rank(record: CompletedRecord): RankedDocument[] {
  const { logits, ids, texts, tokens } = record;
  const truncated = new Set(record.truncated);
  const relevance = record.fused ?? logits;
  const isRaw = record.rawScores === true || record.activation === "identity";
  const order: number[] = [];
  for (let index = 0; index < logits.length; index++) {
    if (logits[index] !== null) order.push(index);
  }
  // By logit, not score: far out a sigmoid rounds to 1 and would tie what the model told apart. (And by comparing, not
  // subtracting: V8 would make an object of each difference.)
  order.sort((a, b) => {
    const [first, second] = [relevance[a]!, relevance[b]!];
    return first > second ? -1 : first < second ? 1 : a - b;
  });
  const scored = order.slice(0, record.topN).map((index): ScoredDocument => {
    const id = ids?.[index] ?? undefined;
    const text = texts?.[index];
    const raw = relevance[index]!;
    const document = {
      index,
      score: isRaw ? raw : sigmoid(raw),
      logit: logits[index]!,
      tokens: tokens[index] ?? 0,
      truncated: truncated.has(index),
    };
    return id === undefined && text === undefined
      ? document
      : {
          ...document,
          ...(id === undefined ? {} : { id }),
          ...(text === undefined ? {} : { document: text }),
        };
  });
  const failed = Object.entries(record.failures).map(([place, error]): FailedDocument => {
    const index = Number(place);
    const id = ids?.[index] ?? undefined;
    return id === undefined ? { index, error } : { index, id, error };
  });
  return [...scored, ...failed];
}

function sigmoid(logit: number): number {
  return 1 / (1 + Math.exp(-logit));
}
