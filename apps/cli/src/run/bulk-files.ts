import { open, stat, writeFile, type FileHandle } from "node:fs/promises";
import type { RerankOutcome, RerankRequest } from "@rankfleet/sdk";
import { RankfleetError } from "@rankfleet/sdk";
import { BulkFilesError } from "./bulk-files-error.ts";
import { countLines, readRequest, requireFile } from "./input.ts";
import { rawLines } from "./raw-lines.ts";
import { idsByLine, keepFinal, wholeRecords } from "./records.ts";

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

interface Finished {
  readonly done: readonly number[];
  readonly failed: readonly number[];
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

const NO_PLAIN_OUTPUT =
  "is no plain file, which --resume could read: name a file, and print that afterwards";

async function isSame(one: string, other: string): Promise<boolean> {
  const [a, b] = await Promise.all([stat(one), stat(other)]);
  return a.dev === b.dev && a.ino === b.ino;
}
