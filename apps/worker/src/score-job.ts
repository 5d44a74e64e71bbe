import {
  documentDigests,
  readTexts,
  type LengthPolicy,
  type Reranker,
  type ScoredDocument,
  type ScoredRequest,
  type Texts,
} from "@rankfleet/core";
import type { Attempt } from "@rankfleet/queue";
import {
  PROTOCOL_VERSION,
  RankfleetError,
  type CompletedRecord,
  type Failure,
  type JobEnvelope,
} from "@rankfleet/queue/contract";
import type { Redis } from "ioredis";
import type { CarefulScoring } from "./careful.ts";
import { bestOf, placeOf } from "./cascade.ts";
import { keptBy } from "./merge-parts.ts";
import type { Solitude } from "./solitude.ts";
import { documentFailure } from "./verdict.ts";

export interface ScoreJobContext {
  readonly reranker: Reranker;
  readonly redis: Redis;
  /** Redis's time, in milliseconds. */
  now(): number;
  readonly signal: AbortSignal;
  /** The job's deadline in milliseconds, by this process's clock. */
  readonly deadline: number | undefined;
  /** Core's lane for the job's pairs. */
  readonly rank: number;
  /** Handed to the batcher, for the spans of batches. */
  readonly tag: unknown;
  /** For a job whose workers have died. */
  readonly solitude: Solitude;
  readonly careful?: { readonly attempt: Attempt; readonly scoring: CarefulScoring } | undefined;
}

/**
 * A job's record: its texts are fetched, scored together with everything else under way, and the scores put in columns.
 *
 * @throws RankfleetError `payload_missing`; LeaseLost; whatever core throws; the signal's reason.
 */
export async function scoreJob(
  job: JobEnvelope,
  context: ScoreJobContext,
): Promise<{
  readonly record: CompletedRecord;
  /** If the job asked for documents, or is a stage of a cascade that has another one after it. */
  readonly texts: Texts | undefined;
  readonly tokens: number;
  /** Pairs that the score cache knew. */
  readonly cached: number;
  /** Documents that this model revision should not be given again. */
  readonly poison: readonly PoisonDocument[];
}> {
  const { reranker, rank, signal, deadline, tag, solitude, careful } = context;
  const takenAt = context.now();
  const { truncation, longDocuments, maxTokensPerDocument, returnDocuments } = job.options;
  const texts = await payloadOf(job, context.redis);
  const policy = {
    ...(truncation === undefined ? {} : { truncation }),
    ...(longDocuments === undefined ? {} : { longDocuments }),
    ...(maxTokensPerDocument === undefined ? {} : { maxTokensPerDocument }),
  };
  const returnTexts = returnDocuments === true || (job.cascade?.next.length ?? 0) > 0;
  const { firstStageScores } = job;
  const options = { lane: rank, deadline, signal, tag };
  const scored =
    careful === undefined
      ? await solitude.together(() =>
          reranker.score({ texts, ...policy, returnTexts, firstStageScores }, options),
        )
      : await careful.scoring.score(
          careful.attempt,
          { texts, policy, returnTexts, firstStageScores },
          options,
        );
  const record = toRecord(job, scored, reranker, {
    queuedMs: takenAt - job.enqueuedAt,
    totalMs: context.now() - job.enqueuedAt,
  });
  const tokens = record.tokens.reduce((sum, count) => sum + count, 0);
  const { cached } = scored;
  const poison = await poisonOf(job, scored, policy, context.redis);
  return { record, texts: scored.texts, tokens, cached, poison };
}

/** A document to be remembered, and why. */
export interface PoisonDocument {
  readonly digest: string;
  readonly failure: Failure;
  /** Its place in the whole request. */
  readonly index: number;
}

/** Failures of the model on a text, not of the text itself. */
const POISONOUS: ReadonlySet<string> = new Set([
  "inference_failed",
  "score_not_finite",
  "process_killed",
]);

async function poisonOf(
  job: JobEnvelope,
  { documents, digests }: ScoredRequest,
  policy: LengthPolicy,
  redis: Redis,
): Promise<PoisonDocument[]> {
  if (documents.every(({ state }) => state === "scored")) return [];
  const failed = documents.flatMap((document, i) =>
    document.state === "failed" && POISONOUS.has(document.failure.code)
      ? [{ i, failure: documentFailure(document.failure) }]
      : [],
  );
  if (failed.length === 0) return [];
  // Without a score cache nobody has needed digests yet.
  const all = digests ?? documentDigests(readTexts(await payloadOf(job, redis)), policy);
  return failed.map(({ i, failure }) => ({
    digest: all[i]!,
    failure,
    index: placeOf(job, (job.part?.from ?? 0) + i),
  }));
}

/** Bytes as they are: the tokenising thread unpacks and parses them. */
async function payloadOf(
  { payload }: JobEnvelope,
  redis: Redis,
): Promise<{ json: string } | { json: Uint8Array<ArrayBuffer>; isGzip: true }> {
  if ("json" in payload) return payload;
  const bytes = await redis.getBuffer(payload.claim);
  if (bytes === null) {
    throw new RankfleetError(
      "payload_missing",
      `the job's texts (${payload.claim}) are no longer in Redis: send the request again`,
      { field: "payload" },
    );
  }
  // A copy of its own: ioredis's buffers are windows onto larger ones, which a thread cannot take.
  return { json: new Uint8Array(bytes), isGzip: true };
}

function toRecord(
  job: JobEnvelope,
  scored: ScoredRequest,
  { facts }: Reranker,
  times: { queuedMs: number; totalMs: number },
): CompletedRecord {
  const { documents } = scored;
  // Pushed, not mapped: of an array that might have holes JSON asks element by element.
  const logits: (number | null)[] = [];
  const tokens: number[] = [];
  for (const document of documents) {
    const isScored = document.state === "scored";
    logits.push(isScored ? float32(document.logit) : null);
    tokens.push(isScored ? document.tokens : 0);
  }
  return {
    v: PROTOCOL_VERSION,
    state: "completed",
    model: job.model,
    revision: facts.revision,
    dtype: facts.dtype,
    activation: facts.activation,
    batchInvariant: facts.batchInvariant,
    logits,
    fused: scored.fused?.map((logit) => (logit === null ? null : float32(logit))),
    tokens,
    truncated: documents.flatMap((document, index) =>
      document.state === "scored" && document.isTruncated ? [index] : [],
    ),
    failures: failuresOf(documents),
    ids: job.ids,
    texts: keepsTexts(job) ? textsOfBest(job, scored, logits) : undefined,
    topN: job.options.topN,
    rawScores: job.options.rawScores,
    pairs: scored.pairs,
    cached: scored.cached,
    timings: {
      queuedMs: milliseconds(times.queuedMs),
      tokenizeMs: milliseconds(scored.timings.tokenizeMs),
      scoreMs: milliseconds(scored.timings.scoreMs),
      totalMs: milliseconds(times.totalMs),
    },
    metadata: job.metadata,
    digest: job.digest,
  };
}

/** The caller wants them, or another worker will merge this part and hand its best documents on. */
function keepsTexts({ options, part, cascade }: JobEnvelope): boolean {
  return (
    options.returnDocuments === true || (part !== undefined && (cascade?.next.length ?? 0) > 0)
  );
}

function failuresOf(documents: readonly ScoredDocument[]): Record<string, Failure> {
  const failures: Record<string, Failure> = {};
  for (const [index, document] of documents.entries()) {
    if (document.state === "scored") continue;
    failures[index] = { ...documentFailure(document.failure), field: `documents[${index}]` };
  }
  return failures;
}

/**
 * Only the documents that the caller will be shown, or the next stage given. Which of a part's those are is
 * not known yet if first-stage scores count: they are fused over the whole job, by whoever merges.
 */
function textsOfBest(
  job: JobEnvelope,
  { texts, fused }: ScoredRequest,
  logits: readonly (number | null)[],
): Record<string, string> {
  const isOrderKnown = job.part === undefined || fused === undefined;
  const best = bestOf(fused ?? logits, isOrderKnown ? keptBy(job) : undefined);
  return Object.fromEntries(best.map((index) => [index, texts!.documents[index]!]));
}

/**
 * Nine significant digits bring every float32 back to the bit, in half the bytes of a double. By arithmetic, which is four
 * times as fast as `toPrecision`: there are hundreds of thousands a second.
 */
export function float32(logit: number): number {
  const size = Math.abs(logit);
  if (!(size >= 1e-8 && size < 1e8)) return Number(logit.toPrecision(9));
  const scale = POWERS_OF_TEN[8 - Math.floor(Math.log10(size))]!;
  return Math.round(logit * scale) / scale;
}

const POWERS_OF_TEN = Array.from({ length: 17 }, (_, exponent) => 10 ** exponent);

function milliseconds(value: number): number {
  return Math.max(0, Math.round(value * 100) / 100);
}
