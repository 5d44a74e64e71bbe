import { open, stat } from "node:fs/promises";
import type { RerankRequest } from "@rankfleet/sdk";
import { BulkFilesError } from "./bulk-files-error.ts";
import { rawLines } from "./raw-lines.ts";

/**
 * It is read twice, for its length and for its requests, so it must be a file.
 *
 * @throws BulkFilesError if it is none, or is packed.
 */
export async function requireFile(file: string): Promise<void> {
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

/**
 * Requests in the input.
 *
 * @param ids Which request stood in which line when it was scored.
 * @throws BulkFilesError if it cannot be read, or another request stands there now.
 */
export async function countLines(input: string, ids: ReadonlyMap<number, string>): Promise<number> {
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

/** A line as a request, or what is wrong with it. */
export function readRequest(
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
