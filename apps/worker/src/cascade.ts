import type { Texts } from "@rankfleet/core";
import type { CompletedRecord, Failure, JobEnvelope } from "@rankfleet/queue/contract";

type NextJob = Omit<JobEnvelope, "payload">;

/** What a stage hands on: a job for the next model with the documents that this one liked best. */
export function nextStage(
  job: JobEnvelope,
  record: CompletedRecord,
  texts: Texts,
): { readonly job: NextJob; readonly texts: Texts } {
  const { cascade, payload: _, ...rest } = job;
  const [stage, ...later] = cascade!.next;
  const kept = bestOf(record.fused ?? record.logits, cascade!.keep);
  const pick = <Item>(items: readonly Item[] | undefined): Item[] | undefined =>
    items && kept.map((index) => items[index]!);
  const documents = kept.map((index) => texts.documents[index]!);
  return {
    texts: { query: texts.query, documents },
    job: {
      ...rest,
      model: stage!.model,
      documents: documents.length,
      characters: documents.reduce((sum, text) => sum + text.length, 0),
      ids: pick(job.ids),
      firstStageScores: pick(job.firstStageScores),
      cascade: {
        keep: later.length === 0 ? undefined : stage!.keep,
        next: later,
        documents: cascade!.documents,
        indices: kept.map((index) => placeOf(job, index)),
        failures: { ...cascade!.failures, ...atPlaces(job, record.failures) },
        past: [...cascade!.past, job.model],
        pairs: cascade!.pairs + record.pairs,
        cached: (cascade!.cached ?? 0) + (record.cached ?? 0),
        tokens: record.tokens.reduce((sum, tokens) => sum + tokens, cascade!.tokens ?? 0),
      },
    },
  };
}

/** The last stage's record in terms of the whole request: its columns have a place for each document. */
export function wholeRecord(job: JobEnvelope, record: CompletedRecord): CompletedRecord {
  const { cascade } = job;
  if (cascade?.indices === undefined) return record;
  const spread = <Item>(items: readonly Item[], absent: Item): Item[] => {
    const all = Array.from({ length: cascade.documents }, () => absent);
    for (const [index, item] of items.entries()) all[placeOf(job, index)] = item;
    return all;
  };
  return {
    ...record,
    logits: spread(record.logits, null),
    fused: record.fused && spread(record.fused, null),
    tokens: spread(record.tokens, 0),
    truncated: record.truncated.map((index) => placeOf(job, index)),
    failures: { ...cascade.failures, ...atPlaces(job, record.failures) },
    ids: record.ids && spread(record.ids, null),
    texts:
      record.texts &&
      Object.fromEntries(
        Object.entries(record.texts).map(([index, text]) => [placeOf(job, Number(index)), text]),
      ),
    pairs: cascade.pairs + record.pairs,
    cached: (cascade.cached ?? 0) + (record.cached ?? 0),
    earlierTokens: cascade.tokens,
  };
}

/** A document's place in the whole request. */
export function placeOf({ cascade }: JobEnvelope, index: number): number {
  return cascade?.indices?.[index] ?? index;
}

function atPlaces(
  job: JobEnvelope,
  failures: Readonly<Record<string, Failure>>,
): Record<string, Failure> {
  return Object.fromEntries(
    Object.entries(failures).map(([index, failure]) => {
      const place = placeOf(job, Number(index));
      return [place, { ...failure, field: `documents[${place}]` }];
    }),
  );
}

/** Indices of the best scored documents, best first; ties in the documents' order. */
export function bestOf(logits: readonly (number | null)[], count: number = Infinity): number[] {
  return logits
    .flatMap((logit, index) => (logit === null ? [] : [{ logit, index }]))
    .sort((a, b) => b.logit - a.logit || a.index - b.index)
    .slice(0, count)
    .map(({ index }) => index);
}
