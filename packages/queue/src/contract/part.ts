import { RankfleetError } from "./errors.ts";
import type { Failure } from "./failure.ts";
import type { CompletedRecord } from "./result.ts";

/**
 * Where a part stands in its job. A job of many documents is queued as several parts, so that several
 * workers can score it at the same time; whoever ends the last part merges them.
 */
export interface JobPart {
  /** The id of the whole job. */
  readonly job: string;
  readonly index: number;
  /** How many parts the job has. */
  readonly of: number;
  /** The place of this part's first document in the job. */
  readonly from: number;
  /** Documents of the whole job. */
  readonly documents: number;
}

/** What a part leaves for the one that merges. */
export type PartRecord =
  | {
      readonly state: "completed";
      readonly from: number;
      readonly record: CompletedRecord;
      /** What its documents brought along from a first stage. */
      readonly firstStageScores?: readonly number[] | undefined;
      /** The query, if another stage follows. */
      readonly query?: string | undefined;
    }
  | {
      readonly state: "failed";
      readonly from: number;
      readonly documents: number;
      readonly ids?: readonly (string | null)[] | undefined;
      readonly failure: Failure;
    };

export interface TextRange {
  readonly from: number;
  readonly to: number;
}

/** More documents, or more characters, than this are cut into parts of about half of it. */
export const PART_DOCUMENTS = 256;
export const PART_CHARACTERS: number = 4 * 1024 * 1024;

/** Cuts documents into runs of nearly equal number; a single run if they are few enough. */
export function partsOf(documents: readonly string[]): TextRange[] {
  const characters = documents.reduce((sum, text) => sum + text.length, 0);
  if (documents.length <= PART_DOCUMENTS && characters <= PART_CHARACTERS) {
    return [{ from: 0, to: documents.length }];
  }
  const parts = Math.min(
    documents.length,
    Math.max(
      Math.ceil(documents.length / (PART_DOCUMENTS / 2)),
      Math.ceil(characters / (PART_CHARACTERS / 2)),
    ),
  );
  return Array.from({ length: parts }, (_, part) => ({
    from: Math.floor((part * documents.length) / parts),
    to: Math.floor(((part + 1) * documents.length) / parts),
  }));
}

/** The queue's id of a part. */
export function partId({ job, index }: Pick<JobPart, "job" | "index">): string {
  return `${job}~${index}`;
}

/** The queue's ids of all parts of a job. */
export function partIds(job: string, of: number): string[] {
  return Array.from({ length: of }, (_, index) => partId({ job, index }));
}

/** @throws RankfleetError `payload_corrupt`: only workers write here, so another reader has meddled. */
export function parsePartRecord(json: string): PartRecord {
  try {
    const value = JSON.parse(json) as PartRecord;
    if (value.state === "completed" || value.state === "failed") return value;
  } catch {
    // Said below.
  }
  throw new RankfleetError("payload_corrupt", "the record of a job's part cannot be read");
}
