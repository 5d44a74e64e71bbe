import { createReadStream } from "node:fs";
import { CollectionError } from "./collection-error.ts";

export interface Line {
  /** From 1. */
  readonly number: number;
  readonly text: string;
}

/**
 * The non-blank lines of a UTF-8 file, one at a time, without carriage returns and byte order mark.
 * Only line feeds end a line: node:readline also splits at U+2028, which JSON allows inside
 * strings.
 *
 * @throws CollectionError `file_missing` if the file cannot be read, `file_invalid` if it is packed.
 */
export async function* readLines(file: string): AsyncGenerator<Line> {
  let number = 0;
  for await (const raw of splitLines(file)) {
    number += 1;
    if (number === 1 && raw.startsWith(GZIPPED)) {
      const problem = "is gzipped: unpack it first, by gunzip";
      throw new CollectionError(problem, { code: "file_invalid", file });
    }
    const text = raw.replace(/\r$/, "").replace(number === 1 ? /^\uFEFF/ : "", "");
    if (text.trim() !== "") yield { number, text };
  }
}

/** The first two bytes, of which the second is no UTF-8. */
const GZIPPED = "\u001F\uFFFD";

function whyNot(cause: unknown): string {
  const { code, message } = cause as NodeJS.ErrnoException;
  if (code === "ENOENT") return "there is no such file";
  if (code === "EISDIR") return "is a folder, where a file is expected";
  return `the file cannot be read: ${message}`;
}

async function* splitLines(file: string): AsyncGenerator<string> {
  // Of the line that is being read: joined once, since one may be as long as the file.
  let parts: string[] = [];
  try {
    for await (const chunk of createReadStream(file, "utf8") as AsyncIterable<string>) {
      const lines = chunk.split("\n");
      const last = lines.pop()!;
      for (const line of lines) {
        yield parts.length === 0 ? line : parts.join("") + line;
        parts = [];
      }
      if (last !== "") parts.push(last);
    }
  } catch (cause) {
    throw new CollectionError(whyNot(cause), { code: "file_missing", file, cause });
  }
  yield parts.join("");
}
