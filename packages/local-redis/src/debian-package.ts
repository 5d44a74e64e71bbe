/**
 * Debian's and Ubuntu's redis-server without installing anything and without root: `apt-get download`,
 * then `dpkg -x` into a folder of the user's cache.
 *
 * The folder appears by one rename, so whoever sees it sees all of it; of two processes that unpack at
 * the same time, the second uses what the first has put there.
 */
import { execFile } from "node:child_process";
import { access, mkdir, mkdtemp, readdir, rename, rm } from "node:fs/promises";
import { homedir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { isRunnable, type RedisServerProgram } from "./redis-server-program.ts";

type Environment = Readonly<Record<string, string | undefined>>;

/** What was unpacked earlier, if anything was. */
export async function cachedRedisServer(env: Environment): Promise<RedisServerProgram | undefined> {
  const root = join(cacheFolder(env), "root");
  return (await isThere(join(root, PROGRAM))) ? programIn(root) : undefined;
}

/** @throws what apt-get or dpkg said, the signal's AbortError, or an Error if the packages hold no redis-server. */
export async function unpackRedisServer(
  env: Environment,
  signal?: AbortSignal,
): Promise<RedisServerProgram> {
  const cache = cacheFolder(env);
  await mkdir(cache, { recursive: true });
  const work = await mkdtemp(join(cache, "unpacking-"));
  try {
    await download({ folder: work, signal });
    const unpacked = join(work, "root");
    for (const file of (await readdir(work)).filter((name) => name.endsWith(".deb"))) {
      await run("dpkg", ["-x", join(work, file), unpacked], { folder: work, signal });
    }
    if (!(await isThere(join(unpacked, PROGRAM)))) {
      throw new Error(`expected ${PROGRAM} in the packages redis-server and redis-tools`);
    }
    return await putInPlace(unpacked, join(cache, "root"), join(work, "broken"));
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}

const PROGRAM = "usr/bin/redis-server";

function cacheFolder(env: Environment): string {
  const caches = env["XDG_CACHE_HOME"] || join(env["HOME"] || homedir(), ".cache");
  return join(caches, "rankfleet", "redis");
}

function programIn(root: string): RedisServerProgram {
  const machine = { x64: "x86_64", arm64: "aarch64" }[process.arch as string] ?? process.arch;
  const libraries = [`usr/lib/${machine}-linux-gnu`, `lib/${machine}-linux-gnu`].map((folder) =>
    join(root, folder),
  );
  return { path: join(root, PROGRAM), env: { LD_LIBRARY_PATH: libraries.join(":") } };
}

async function putInPlace(
  unpacked: string,
  root: string,
  broken: string,
): Promise<RedisServerProgram> {
  const program = programIn(root);
  try {
    await rename(unpacked, root);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code !== "ENOTEMPTY" && code !== "EEXIST") throw error;
    // Somebody else's. Replaced only if it does not run, since they may be starting it right now.
    if (await isRunnable(program)) return program;
    await rename(root, broken);
    await rename(unpacked, root);
  }
  return program;
}

/** Where apt-get and dpkg work, and until when. */
interface Place {
  readonly folder: string;
  readonly signal: AbortSignal | undefined;
}

/**
 * On Debian 12 the program is in redis-tools; the libraries are what a slim image lacks. Some releases
 * have other ones, which {@link missingHere} adds.
 */
const PACKAGES = ["redis-server", "redis-tools", "libjemalloc2", "liblzf1", "libatomic1"];
const WITHOUT_THESE_NO_REDIS = ["redis-server", "redis-tools"];

async function download(place: Place): Promise<void> {
  const { folder: work } = place;
  try {
    await downloadAll([], place);
  } catch {
    // The machine's lists are empty, as in most images, or so old that the files are gone. Without
    // root apt cannot refresh them, but it can fill lists of its own.
    await mkdir(join(work, "lists", "partial"), { recursive: true });
    await mkdir(join(work, "cache", "archives", "partial"), { recursive: true });
    const own = [
      `--option=Dir::State::Lists=${join(work, "lists")}`,
      `--option=Dir::Cache=${join(work, "cache")}`,
    ];
    await apt([...own, "update"], place);
    await downloadAll(own, place);
  }
}

async function downloadAll(options: readonly string[], place: Place): Promise<void> {
  for (const name of new Set([...PACKAGES, ...(await missingHere(options, place))])) {
    try {
      await apt([...options, "download", name], place);
    } catch (error) {
      // A library that this release does not have is one that its redis-server does not need.
      if (WITHOUT_THESE_NO_REDIS.includes(name)) throw error;
    }
  }
}

/** What apt would install; nothing if it cannot say. Never the C library, which must be the loader's. */
async function missingHere(options: readonly string[], place: Place): Promise<string[]> {
  const simulation = [...options, "--simulate", "--no-install-recommends", "install"];
  const plan = await apt([...simulation, "redis-server"], place).catch(() => "");
  return [...plan.matchAll(/^Inst (\S+)/gmu)]
    .map((match) => match[1]!)
    .filter((name) => !/^(libc6|libc-bin)/u.test(name));
}

async function apt(args: readonly string[], place: Place): Promise<string> {
  // As root apt would download as the user _apt, who cannot write to our folder.
  return run("apt-get", ["--option=APT::Sandbox::User=root", "-qq", ...args], place);
}

async function run(
  program: string,
  args: readonly string[],
  { folder, signal }: Place,
): Promise<string> {
  const { stdout } = await promisify(execFile)(program, args, {
    cwd: folder,
    ...(signal === undefined ? {} : { signal }),
    env: { ...process.env, LC_ALL: "C" },
    timeout: 120_000,
  });
  return stdout;
}

async function isThere(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}
