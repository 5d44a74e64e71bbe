import { existsSync } from "node:fs";
import { rename, truncate, writeFile } from "node:fs/promises";
import { FAILURES, isFailureCode } from "@rankfleet/queue/contract";
import { BulkFilesError } from "./bulk-files-error.ts";
import { rawLines } from "./raw-lines.ts";

export interface BulkRecord {
  readonly line: number;
  /** The request's own, as JSON. */
  readonly id?: string;
  readonly error?: { readonly code: string };
}

/** What a results or errors file holds; half a line at its end, from a kill, is cut off. */
export async function wholeRecords(file: string): Promise<BulkRecord[]> {
  if (!existsSync(file)) return [];
  const records: BulkRecord[] = [];
  let wholeBytes = 0;
  for await (const { text, endsAt, isWhole } of rawLines(file)) {
    if (!isWhole) {
      // Half a line is cut off, but nobody else's whole file.
      if (!isOurBeginning(text)) throw new BulkFilesError(NOT_OURS(file));
      break;
    }
    wholeBytes = endsAt;
    // Results are long and only their line counts; an error's code does too.
    const [, line, id] = OUR_LINE.exec(text) ?? [];
    if (line === undefined) throw new BulkFilesError(NOT_OURS(file));
    const code = /"error":\{"code":"(\w+)"/u.exec(text)?.[1];
    records.push({
      line: Number(line),
      ...(id === undefined || records.length >= MOST_COMPARED ? {} : { id }),
      ...(code === undefined ? {} : { error: { code } }),
    });
  }
  await truncate(file, wholeBytes);
  return records;
}

/** Its line, and the request's id if that is text or a number. */
const OUR_LINE = /^\{"line":(\d+),(?:"id":("(?:[^"\\]|\\.)*"|-?\d[\d.eE+-]*),)?/u;
/** So many records tell whether the input is still the one that they were made from. */
const MOST_COMPARED = 1_000;

export function idsByLine(records: readonly BulkRecord[]): ReadonlyMap<number, string> {
  return new Map(records.flatMap(({ line, id }) => (id === undefined ? [] : [[line, id]])));
}

function isOurBeginning(text: string): boolean {
  const ours = '{"line":';
  return text.startsWith(ours) || ours.startsWith(text);
}

const NOT_OURS = (file: string): string =>
  `${file} was not written by rankfleet run: say --overwrite to replace it`;

/** The lines of errors that will not pass; the others leave the file, to be done again. */
export async function keepFinal(file: string): Promise<number[]> {
  const records = await wholeRecords(file);
  const final = records.filter(({ error }) => !mayPass(error?.code));
  if (final.length < records.length) {
    const kept: string[] = [];
    let index = 0;
    for await (const { text } of rawLines(file)) {
      if (!mayPass(records[index++]!.error?.code)) kept.push(`${text}\n`);
    }
    // A kill on the way leaves the one or the other file, and never half of one.
    await writeFile(`${file}.new`, kept.join(""));
    await rename(`${file}.new`, file);
  }
  return final.map(({ line }) => line);
}

/** Where the cause lies outside of the request, so that another run may do it. */
function mayPass(code: string | undefined): boolean {
  if (code === undefined || OUTSIDE.has(code)) return true;
  return isFailureCode(code) && FAILURES[code].isRetryable;
}

const OUTSIDE: ReadonlySet<string> = new Set([
  "unknown",
  "model_not_served",
  "job_not_found",
  "client_closed",
]);
