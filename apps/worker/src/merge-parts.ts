import { fuse } from "@rankfleet/core";
import type { CompletedRecord, Failure, JobEnvelope, PartRecord } from "@rankfleet/queue/contract";
import { bestOf } from "./cascade.ts";

export interface MergedParts {
  readonly record: CompletedRecord;
  /** Of all documents, if the request carried them. */
  readonly firstStageScores: readonly number[] | undefined;
}

type CompletedPart = Extract<PartRecord, { state: "completed" }>;
type FailedPart = Extract<PartRecord, { state: "failed" }>;

/**
 * The record that the job would have if it had been scored in one piece.
 *
 * A part that failed costs its own documents. The job fails if every part did, or if its deadline was over.
 *
 * @param job Any of the parts' envelopes.
 * @param parts All of them, in their order.
 */
export function mergeParts(
  job: JobEnvelope,
  parts: readonly PartRecord[],
  firstStageWeight: number | undefined,
): MergedParts | { readonly failure: Failure } {
  const completed = parts.filter((part): part is CompletedPart => part.state === "completed");
  const failed = parts.filter((part): part is FailedPart => part.state === "failed");
  const fatal = failed.find(({ failure }) => failure.code === "deadline_exceeded") ?? failed[0];
  const [first] = completed;
  if (fatal !== undefined && (first === undefined || fatal.failure.code === "deadline_exceeded")) {
    return { failure: fatal.failure };
  }
  const column = <Item>(read: (part: CompletedPart) => readonly Item[], absent: Item): Item[] =>
    parts.flatMap((part) =>
      part.state === "completed"
        ? read(part)
        : Array.from({ length: part.documents }, () => absent),
    );
  const { record } = first!;
  const logits = column<number | null>((part) => part.record.logits, null);
  const firstStageScores =
    first!.firstStageScores && column((part) => part.firstStageScores ?? [], 0);
  const fused =
    firstStageScores && firstStageWeight !== undefined
      ? fuse(logits, firstStageScores, firstStageWeight)
      : undefined;
  const allOf = (read: (part: CompletedPart) => string): string =>
    [...new Set(completed.map((part) => read(part)))].join("+");
  const most = (read: (part: CompletedPart) => number): number =>
    Math.max(...completed.map((part) => read(part)));
  return {
    firstStageScores,
    record: {
      ...record,
      // While a fleet changes revisions, parts may have been scored by both: the record names both.
      revision: allOf((part) => part.record.revision),
      dtype: allOf((part) => part.record.dtype),
      logits,
      fused,
      tokens: column((part) => part.record.tokens, 0),
      truncated: completed.flatMap(({ from, record: { truncated } }) =>
        truncated.map((index) => from + index),
      ),
      failures: Object.assign({}, ...parts.map(failuresAt)) as Record<string, Failure>,
      ids: idsOf(parts),
      texts: record.texts && pickTexts(completed, bestOf(fused ?? logits, keptBy(job))),
      pairs: completed.reduce((sum, part) => sum + part.record.pairs, 0),
      cached: completed.reduce((sum, part) => sum + (part.record.cached ?? 0), 0),
      timings: {
        queuedMs: Math.min(...completed.map((part) => part.record.timings.queuedMs)),
        tokenizeMs: most((part) => part.record.timings.tokenizeMs),
        scoreMs: most((part) => part.record.timings.scoreMs),
        totalMs: most((part) => part.record.timings.totalMs),
      },
    },
  };
}

/** How many of a part's best documents the whole job may need the texts of. */
export function keptBy({ cascade, options }: JobEnvelope): number | undefined {
  return (cascade?.next.length ?? 0) > 0 ? cascade!.keep : options.topN;
}

/** A part in which no document has an id brings no column of ids. */
function idsOf(parts: readonly PartRecord[]): (string | null)[] | undefined {
  const ids = parts.flatMap((part) => {
    const isCompleted = part.state === "completed";
    const known = isCompleted ? part.record.ids : part.ids;
    const count = isCompleted ? part.record.logits.length : part.documents;
    return known ?? Array.from({ length: count }, () => null);
  });
  return ids.some((id) => id !== null) ? ids : undefined;
}

function failuresAt(part: PartRecord): Record<string, Failure> {
  const at = (index: number, failure: Failure): [number, Failure] => [
    part.from + index,
    { ...failure, field: `documents[${part.from + index}]` },
  ];
  if (part.state === "completed") {
    const { failures } = part.record;
    return Object.fromEntries(Object.entries(failures).map(([i, f]) => at(Number(i), f)));
  }
  return Object.fromEntries(
    Array.from({ length: part.documents }, (_, index) => at(index, part.failure)),
  );
}

function pickTexts(
  parts: readonly CompletedPart[],
  chosen: readonly number[],
): Record<string, string> {
  const texts = new Map(
    parts.flatMap(({ from, record }) =>
      Object.entries(record.texts ?? {}).map(([index, text]) => [from + Number(index), text]),
    ),
  );
  return Object.fromEntries(
    chosen.flatMap((index) => (texts.has(index) ? [[index, texts.get(index)!]] : [])),
  );
}
