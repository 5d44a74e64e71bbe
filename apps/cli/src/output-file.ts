import { constants, createWriteStream } from "node:fs";
import { access, open, realpath, rename, rm, stat } from "node:fs/promises";
import { dirname, resolve } from "node:path";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";

/**
 * Hours of scoring must not end in a file that cannot be written, or in one that another takes the place of.
 *
 * @param files By the option that names it.
 * @throws Error `output_invalid` naming the option, the file and what to do.
 */
export async function requireWritable(
  files: Readonly<Record<string, string | undefined>>,
): Promise<void> {
  const optionOf = new Map<string, string>();
  for (const [option, file] of Object.entries(files)) {
    if (file === undefined) continue;
    const place = await placeOf(file);
    const other = optionOf.get(place);
    if (place !== "") optionOf.set(place, option);
    const obstacle =
      other === undefined ? await obstacleTo(file) : `${other} goes there; name another file`;
    if (obstacle === undefined) continue;
    const message = `${option} "${file}" cannot be written: ${obstacle}`;
    throw Object.assign(new Error(message), { code: "output_invalid" });
  }
}

/** Equal for two names of one file; "" for what several may write to, as for /dev/null. */
async function placeOf(file: string): Promise<string> {
  const own = await stat(file).catch(() => undefined);
  if (file === "-" || own === undefined) return file === "-" ? file : resolve(file);
  return own.isFile() ? realpath(file) : "";
}

async function obstacleTo(file: string): Promise<string | undefined> {
  if (file === "-") return undefined;
  if (file.trim() === "") return "give the name of a file";
  const own = await stat(file).catch(() => undefined);
  if (own?.isDirectory() || /[/\\]$/u.test(file)) return "it is a folder; name a file in it";
  const folder = await stat(dirname(file)).catch(() => undefined);
  if (!folder?.isDirectory()) return `there is no folder ${dirname(file)}; make it first`;
  try {
    await (own === undefined ? tryToCreate(`${file}.part`) : access(file, constants.W_OK));
    return undefined;
  } catch (error) {
    return `${(error as Error).message}; name a file elsewhere`;
  }
}

/** Rights do not tell all: to root they allow a file in /proc, and to anyone a name that is too long. */
async function tryToCreate(file: string): Promise<void> {
  try {
    await (await open(file, "wx")).close();
    await rm(file);
  } catch (error) {
    // Left by a run that was killed.
    if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
  }
}

type Pieces = Iterable<string> | AsyncIterable<string>;

/** By the option that names it, a file, if one was asked for, and what belongs there. */
export type Outputs = Readonly<
  Record<string, readonly [file: string | undefined, content: () => Pieces]>
>;

/**
 * Writes each by {@link writeWhole}: what one has no room for, another disk or standard output may have, and it took
 * hours.
 *
 * @returns Error `output_invalid` naming those that could not be written; undefined if there is none.
 */
export async function writeEach(outputs: Outputs): Promise<Error | undefined> {
  const problems: string[] = [];
  for (const [option, [file, content]] of Object.entries(outputs)) {
    try {
      await writeWhole(file, content);
    } catch (error) {
      problems.push(`${option} "${file}" could not be written: ${(error as Error).message}`);
    }
  }
  if (problems.length === 0) return undefined;
  return Object.assign(new Error(problems.join("\n")), { code: "output_invalid" });
}

/**
 * Writes a file piece by piece (a run of ten thousand queries is longer than a string can be), whole or not at all;
 * `-` is standard output.
 */
export async function writeWhole(file: string | undefined, content: () => Pieces): Promise<void> {
  if (file === undefined) return;
  if (file === "-") {
    for await (const piece of content()) process.stdout.write(piece);
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

async function fill(file: string, content: Pieces): Promise<void> {
  await pipeline(Readable.from(content), createWriteStream(file));
}
