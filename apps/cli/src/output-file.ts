import { createWriteStream } from "node:fs";
import { rename, stat } from "node:fs/promises";
import { dirname } from "node:path";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";

/**
 * Hours of scoring must not end in a file that cannot be written.
 *
 * @throws Error `output_invalid` naming the file.
 */
export async function requireWritable(files: readonly (string | undefined)[]): Promise<void> {
  for (const file of files) {
    if (file === undefined || file === "-") continue;
    const own = await stat(file).catch(() => undefined);
    if (own?.isDirectory()) throw unwritable(file, "it is a folder");
    const isThere = await stat(dirname(file)).then(
      (found) => found.isDirectory(),
      () => false,
    );
    if (isThere) continue;
    throw unwritable(file, `there is no folder ${dirname(file)}`);
  }
}

function unwritable(file: string, why: string): Error {
  return Object.assign(new Error(`${file} cannot be written: ${why}`), { code: "output_invalid" });
}

/**
 * Writes a file piece by piece (a run of ten thousand queries is longer than a string can be), whole or not at all;
 * `-` is standard output.
 */
export async function writeWhole(
  file: string | undefined,
  content: () => Iterable<string>,
): Promise<void> {
  if (file === undefined) return;
  if (file === "-") {
    for (const piece of content()) process.stdout.write(piece);
    return;
  }
  const found = await stat(file).catch(() => undefined);
  // A pipe or device cannot be put in its place afterwards.
  const isPlain = found === undefined || found.isFile();
  const target = isPlain ? `${file}.part` : file;
  await pipeline(Readable.from(content()), createWriteStream(target));
  if (isPlain) await rename(target, file);
}
