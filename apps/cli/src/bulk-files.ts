import { createReadStream, existsSync } from "node:fs";
import { open, truncate, writeFile, type FileHandle } from "node:fs/promises";
import { createInterface } from "node:readline";
import type { RerankOutcome, RerankRequest } from "@rankfleet/sdk";
import { RankfleetError } from "@rankfleet/sdk";

/**
 * The three files of a bulk run: requests, results and errors, all JSON lines.
 *
 * Every line of results and errors carries the number of its request's line, so a run that was killed
 * can go on: what stands in either file is finished, half a line at the end is cut off, and everything
 * else is done.
 */
export class BulkFiles {
  readonly errorsPath: string;
  /** Requests in the input. */
  readonly lines: number;
  readonly #input: string;
  readonly #finished: Set<number>;
  readonly #output: FileHandle;
  readonly #errors: FileHandle;
  /** Line and id of the requests under way, in the order in which they were read. */
  readonly #underWay = new Map<number, { readonly line: number; readonly id: unknown }>();

  private constructor(
    input: string,
    lines: number,
    finished: Set<number>,
    output: FileHandle,
    errors: FileHandle,
    errorsPath: string,
  ) {
    this.#input = input;
    this.lines = lines;
    this.#finished = finished;
    this.#output = output;
    this.#errors = errors;
    this.errorsPath = errorsPath;
  }

  /** @throws BulkFilesError if the input is missing, or the output exists and nothing is said about it. */
  static async open(
    input: string,
    options: { output: string; resume?: boolean; overwrite?: boolean },
  ): Promise<BulkFiles> {
    const { output } = options;
    const errorsPath = `${output.replace(/\.jsonl$/u, "")}.errors.jsonl`;
    if (!existsSync(input)) throw new BulkFilesError(`there is no file ${input}`);
    if (existsSync(output) && !options.resume && !options.overwrite) {
      throw new BulkFilesError(
        `${output} exists: say --resume to go on with it, or --overwrite to start anew`,
      );
    }
    if (!options.resume) await Promise.all([writeFile(output, ""), writeFile(errorsPath, "")]);
    const finished = new Set([
      ...(await finishedLines(output)),
      ...(await finishedLines(errorsPath)),
    ]);
    const lines = await countLines(input);
    return new BulkFiles(
      input,
      lines,
      finished,
      await open(output, "a"),
      await open(errorsPath, "a"),
      errorsPath,
    );
  }

  /** Requests that were finished before this run. */
  get finished(): number {
    return this.#finished.size;
  }

  /** The requests that are left, one at a time. */
  async *requests(defaults: { topN?: number | undefined }): AsyncGenerator<RerankRequest> {
    let [line, index] = [0, 0];
    for await (const text of createInterface({
      input: createReadStream(this.#input),
      crlfDelay: Infinity,
    })) {
      if (text.trim() === "") continue;
      line++;
      if (this.#finished.has(line)) continue;
      const { id, request } = readRequest(text, defaults);
      this.#underWay.set(index++, { line, id });
      yield request;
    }
  }

  async write({ index, result, error }: RerankOutcome): Promise<void> {
    const { line, id } = this.#underWay.get(index)!;
    this.#underWay.delete(index);
    if (error === undefined) {
      const { model, revision, dtype, results, usage, metadata } = result;
      await append(this.#output, { line, id, model, revision, dtype, results, usage, metadata });
    } else {
      const code = RankfleetError.isInstance(error) ? error.code : "unknown";
      const field = RankfleetError.isInstance(error) ? error.field : undefined;
      await append(this.#errors, { line, id, error: { code, field, message: error.message } });
    }
  }

  async close(): Promise<void> {
    await Promise.all([this.#output.close(), this.#errors.close()]);
  }
}

export class BulkFilesError extends Error {
  override readonly name = "BulkFilesError";
  readonly code = "files";
}

/** A line that is no JSON object becomes a request that the client refuses, so it ends in the errors file. */
function readRequest(
  text: string,
  defaults: { topN?: number | undefined },
): { id: unknown; request: RerankRequest } {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return { id: null, request: text as unknown as RerankRequest };
  }
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    return { id: null, request: value as RerankRequest };
  }
  const { id = null, ...request } = value as RerankRequest & { id?: unknown };
  const { topN } = defaults;
  return { id, request: topN === undefined ? request : { topN, ...request } };
}

async function append(file: FileHandle, record: object): Promise<void> {
  await file.appendFile(`${JSON.stringify(record)}\n`);
}

/** The line numbers in a results or errors file; half a line at its end, from a kill, is cut off. */
async function finishedLines(file: string): Promise<number[]> {
  if (!existsSync(file)) return [];
  const finished: number[] = [];
  let wholeBytes = 0;
  for await (const { text, endsAt, isWhole } of rawLines(file)) {
    if (!isWhole) break;
    wholeBytes = endsAt;
    const line = /^\{"line":(\d+),/u.exec(text)?.[1];
    if (line === undefined)
      throw new BulkFilesError(
        `${file} was not written by rankfleet run: say --overwrite to replace it`,
      );
    finished.push(Number(line));
  }
  await truncate(file, wholeBytes);
  return finished;
}

/** Lines with the place in bytes where each ends; the last is not whole if no newline ends it. */
async function* rawLines(
  file: string,
): AsyncGenerator<{ text: string; endsAt: number; isWhole: boolean }> {
  let [rest, endsAt] = [Buffer.alloc(0), 0];
  for await (const chunk of createReadStream(file)) {
    let bytes = Buffer.concat([rest, chunk as Buffer]);
    for (let end = bytes.indexOf(0x0a); end >= 0; end = bytes.indexOf(0x0a)) {
      endsAt += end + 1;
      yield { text: bytes.toString("utf8", 0, end), endsAt, isWhole: true };
      bytes = bytes.subarray(end + 1);
    }
    rest = bytes;
  }
  if (rest.length > 0)
    yield { text: rest.toString(), endsAt: endsAt + rest.length, isWhole: false };
}

async function countLines(file: string): Promise<number> {
  let lines = 0;
  for await (const text of createInterface({
    input: createReadStream(file),
    crlfDelay: Infinity,
  })) {
    if (text.trim() !== "") lines++;
  }
  return lines;
}
