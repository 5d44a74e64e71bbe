import { createReadStream } from "node:fs";

/** A line without its newline, and the place in bytes where it ends. */
export interface RawLine {
  readonly text: string;
  readonly endsAt: number;
  /** False for the last one if no newline ends it. */
  readonly isWhole: boolean;
}

/** Lines as JSON lines have them: ended by a newline alone, since U+2028 may stand in a string (node:readline splits there). */
export async function* rawLines(file: string): AsyncGenerator<RawLine> {
  // Of the line that is being read: joined once, since one may be as long as the file.
  let parts: Buffer[] = [];
  let endsAt = 0;
  for await (const chunk of createReadStream(file)) {
    let bytes = chunk as Buffer;
    for (let end = bytes.indexOf(0x0a); end >= 0; end = bytes.indexOf(0x0a)) {
      const line = Buffer.concat([...parts, bytes.subarray(0, end)]);
      parts = [];
      endsAt += line.length + 1;
      yield { text: line.toString(), endsAt, isWhole: true };
      bytes = bytes.subarray(end + 1);
    }
    if (bytes.length > 0) parts.push(bytes);
  }
  const rest = Buffer.concat(parts);
  if (rest.length > 0) {
    yield { text: rest.toString(), endsAt: endsAt + rest.length, isWhole: false };
  }
}
