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
