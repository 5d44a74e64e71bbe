import { existsSync } from "node:fs";
import { open, rename, stat, truncate, writeFile, type FileHandle } from "node:fs/promises";
import type { RerankOutcome, RerankRequest } from "@rankfleet/sdk";
import { FAILURES, isFailureCode } from "@rankfleet/queue/contract";
import { RankfleetError } from "@rankfleet/sdk";
import { rawLines } from "./raw-lines.ts";

/**
 * The three files of a bulk run: requests, results and errors, all JSON lines.
 *
 * Every line of results and errors carries the number of its request's line, so a run that was killed
 * can go on: what stands in the results is finished, and so is an error that lies in the request itself. Half
 * a line at the end is cut off, and everything else is done.
 */
export class BulkFiles {
  readonly errorsPath: string;
  /** Requests in the input. */
  readonly lines: number;
  readonly #input: string;
  readonly #outputPath: string;
  readonly #finished: Set<number>;
  readonly #output: FileHandle;
  readonly #errors: FileHandle;
  /** Line and id of the requests under way, in the order in which they were read. */
  readonly #underWay = new Map<number, { readonly line: number; readonly id: unknown }>();

  #ended: number;
  #failed: number;

  private constructor(
    input: string,
    lines: number,
    finished: Finished,
    output: FileHandle,
    errors: FileHandle,
    outputPath: string,
    errorsPath: string,
  ) {
    this.#input = input;
    this.lines = lines;
    this.#finished = new Set([...finished.done, ...finished.failed]);
    this.#ended = this.#finished.size;
    this.#failed = finished.failed.length;
    this.#output = output;
    this.#errors = errors;
    this.#outputPath = outputPath;
    this.errorsPath = errorsPath;
  }

  /**
   * Touches no file.
   *
   * @throws BulkFilesError if the input cannot be read or is the output, or the output is no file, or is there and
   *   nothing is said about it.
   */
  static async check(input: string, options: BulkFilesOptions): Promise<void> {
    const { output } = options;
    await requireFile(input);
    if (output === "-") throw new BulkFilesError(`--output "-" ${NO_PLAIN_OUTPUT}`);
    for (const file of [output, errorsFile(output)]) {
      const found = await stat(file).catch(() => undefined);
      if (found === undefined) continue;
      // What is read back for --resume has an end: /dev/full gives zeros for ever.
      if (!found.isFile()) throw new BulkFilesError(`${file} ${NO_PLAIN_OUTPUT}`);
      if (await isSame(input, file)) {
        throw new BulkFilesError(
          `${input} is the input, and ${file} would be written over it: name another --output`,
        );
      }
      if (!options.resume && !options.overwrite) {
        throw new BulkFilesError(
          `${file} exists: say --resume to go on with it, or --overwrite to start anew`,
        );
      }
    }
  }

  /**
   * Makes the output, empty or with what is final in it.
   *
   * @throws BulkFilesError as {@link check}, or if the output cannot be written, or resumed because it is not ours.
   */
  static async open(input: string, options: BulkFilesOptions): Promise<BulkFiles> {
    await BulkFiles.check(input, options);
    const { output } = options;
    const errorsPath = errorsFile(output);
    try {
      if (!options.resume) await Promise.all([writeFile(output, ""), writeFile(errorsPath, "")]);
      const done = await wholeRecords(output);
      const lines = await countLines(input, idsByLine(done));
      const finished = { done: done.map(({ line }) => line), failed: await keepFinal(errorsPath) };
      const files = [await open(output, "a"), await open(errorsPath, "a")] as const;
      return new BulkFiles(input, lines, finished, ...files, output, errorsPath);
    } catch (cause) {
      if (cause instanceof BulkFilesError) throw cause;
      throw new BulkFilesError(`cannot write ${output}: ${(cause as Error).message}`);
    }
  }

  /** Requests with a line in either file, from this run or one before. */
  get ended(): number {
    return this.#ended;
  }

  /** Requests that failed, in this run or finally in one before. */
  get failed(): number {
    return this.#failed;
  }

  /** The requests that are left, one at a time; a line that is none ends in the errors file. */
  async *requests(defaults: { topN?: number | undefined }): AsyncGenerator<RerankRequest> {
    let [line, index] = [0, 0];
    for await (const raw of rawLines(this.#input)) {
      line++;
      const text = raw.text.trim();
      if (text === "" || this.#finished.has(line)) continue;
      const read = readRequest(text, defaults);
      if ("problem" in read) {
        await this.#fail({ line, id: null }, { code: "invalid_request", message: read.problem });
        continue;
      }
      this.#underWay.set(index++, { line, id: read.id });
      yield read.request;
    }
  }

  async write({ index, result, error }: RerankOutcome): Promise<void> {
    const { line, id } = this.#underWay.get(index)!;
    this.#underWay.delete(index);
    if (error === undefined) {
      const { model, revision, dtype, results, usage, metadata } = result;
      this.#ended++;
      const record = { line, id, model, revision, dtype, results, usage, metadata };
      await append(this.#output, this.#outputPath, record);
    } else {
      const code = RankfleetError.isInstance(error) ? error.code : "unknown";
      const field = RankfleetError.isInstance(error) ? error.field : undefined;
      await this.#fail({ line, id }, { code, field, message: error.message });
    }
  }

  async #fail(
    place: { readonly line: number; readonly id: unknown },
    error: { readonly code: string; readonly field?: string | undefined; readonly message: string },
  ): Promise<void> {
    this.#ended++;
    this.#failed++;
    await append(this.#errors, this.errorsPath, { ...place, error });
  }

  async close(): Promise<void> {
    await Promise.all([this.#output.close(), this.#errors.close()]);
  }
}

export interface BulkFilesOptions {
  readonly output: string;
  readonly resume?: boolean;
  readonly overwrite?: boolean;
}

function errorsFile(output: string): string {
  return `${output.replace(/\.jsonl$/u, "")}.errors.jsonl`;
}

export class BulkFilesError extends Error {
  override readonly name = "BulkFilesError";
  readonly code = "files";
}

interface Finished {
  readonly done: readonly number[];
  readonly failed: readonly number[];
}

function readRequest(
  text: string,
  defaults: { topN?: number | undefined },
): { readonly id: unknown; readonly request: RerankRequest } | { readonly problem: string } {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    return { problem: `the line is not JSON: ${(cause as SyntaxError).message}` };
  }
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    return { problem: 'expected the line to be an object, {"query", "documents", …}' };
  }
  const { id = null, ...request } = value as RerankRequest & { id?: unknown };
  const { topN } = defaults;
  return { id, request: topN === undefined ? request : { topN, ...request } };
}

async function append(file: FileHandle, path: string, record: object): Promise<void> {
  try {
    await file.appendFile(`${JSON.stringify(record)}\n`);
  } catch (cause) {
    throw new BulkFilesError(
      `cannot write ${path}: ${(cause as Error).message}; once there is room, the same command with --resume goes on`,
    );
  }
}

interface BulkRecord {
  readonly line: number;
  /** The request's own, as JSON. */
  readonly id?: string;
  readonly error?: { readonly code: string };
}

/** What a results or errors file holds; half a line at its end, from a kill, is cut off. */
async function wholeRecords(file: string): Promise<BulkRecord[]> {
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

function idsByLine(records: readonly BulkRecord[]): ReadonlyMap<number, string> {
  return new Map(records.flatMap(({ line, id }) => (id === undefined ? [] : [[line, id]])));
}

function isOurBeginning(text: string): boolean {
  const ours = '{"line":';
  return text.startsWith(ours) || ours.startsWith(text);
}

const NOT_OURS = (file: string): string =>
  `${file} was not written by rankfleet run: say --overwrite to replace it`;

/** The lines of errors that will not pass; the others leave the file, to be done again. */
async function keepFinal(file: string): Promise<number[]> {
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
  "payload_missing",
  "client_closed",
]);

const NO_PLAIN_OUTPUT =
  "is no plain file, which --resume could read: name a file, and print that afterwards";

/** It is read twice: for its length, and for its requests. */
async function requireFile(file: string): Promise<void> {
  const found = await stat(file).catch(() => undefined);
  if (found === undefined) throw new BulkFilesError(`there is no file ${file}`);
  if (!found.isFile()) {
    throw new BulkFilesError(
      `${file} is no plain file: write what comes through a pipe to one first`,
    );
  }
  // Each of its lines would be a failed request.
  if (await isGzipped(file)) throw new BulkFilesError(`${file} is gzipped: unpack it first`);
}

async function isGzipped(file: string): Promise<boolean> {
  const handle = await open(file).catch(() => undefined);
  try {
    const start = await handle?.read(Buffer.alloc(2), 0, 2, 0);
    return start?.buffer.readUInt16BE(0) === 0x1f8b;
  } finally {
    await handle?.close();
  }
}

async function isSame(one: string, other: string): Promise<boolean> {
  const [a, b] = await Promise.all([stat(one), stat(other)]);
  return a.dev === b.dev && a.ino === b.ino;
}

/**
 * Requests in the input.
 *
 * @param ids Which request stood in which line when it was scored.
 * @throws BulkFilesError if it cannot be read, or another request stands there now.
 */
async function countLines(input: string, ids: ReadonlyMap<number, string>): Promise<number> {
  let [line, requests] = [0, 0];
  try {
    for await (const { text } of rawLines(input)) {
      line++;
      if (text.trim() === "") continue;
      requests++;
      const scored = ids.get(line);
      if (scored !== undefined && scored !== idOf(text)) {
        throw new BulkFilesError(
          `line ${line} of ${input} is another request now than when its result (id ${scored}) was written: say --overwrite to start anew, or name another --output`,
        );
      }
    }
  } catch (cause) {
    if (cause instanceof BulkFilesError) throw cause;
    throw new BulkFilesError(`cannot read ${input}: ${(cause as Error).message}`);
  }
  return requests;
}

/** As JSON; undefined if the line has none. */
function idOf(text: string): string | undefined {
  const read = readRequest(text, {});
  return "problem" in read ? undefined : JSON.stringify(read.id);
}
