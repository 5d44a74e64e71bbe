import { constants, createWriteStream } from "node:fs";
import { access, realpath, rename, rm, stat } from "node:fs/promises";
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
    const place = own === undefined ? dirname(file) : file;
    const isOpen = await access(place, constants.W_OK).then(
      () => true,
      () => false,
    );
    if (isOpen) continue;
    const isThere = await stat(dirname(file)).then(
      (found) => found.isDirectory(),
      () => false,
    );
    throw unwritable(file, isThere ? "permission denied" : `there is no folder ${dirname(file)}`);
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
  const target = found === undefined ? file : await realpath(file);
  try {
    // A pipe or device cannot be put in its place afterwards.
    if (found !== undefined && !found.isFile()) return await fill(target, content());
    await fill(`${target}.part`, content());
    await rename(`${target}.part`, target);
  } catch (error) {
    await rm(`${target}.part`, { force: true });
    // A file may be open where its folder is not, or be mounted by itself.
    const { code = "" } = error as NodeJS.ErrnoException;
    if (found === undefined || !["EACCES", "EPERM", "EBUSY", "EXDEV"].includes(code)) throw error;
    await fill(target, content());
  }
}

async function fill(file: string, content: Iterable<string>): Promise<void> {
  await pipeline(Readable.from(content), createWriteStream(file));
}
