import { execFile } from "node:child_process";
import { access, mkdir, mkdtemp, readdir, rename, rm } from "node:fs/promises";
import { homedir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import type { RedisServerProgram } from "./find-redis-server.ts";

const run = promisify(execFile);

type Environment = Readonly<Record<string, string | undefined>>;

/** What was unpacked earlier, if anything was. */
export async function cachedRedisServer(env: Environment): Promise<RedisServerProgram | undefined> {
  const root = join(cacheFolder(env), "root");
  return access(join(root, PROGRAM)).then(
    () => programIn(root),
    () => undefined,
  );
}

/**
 * Downloads Debian's or Ubuntu's redis-server and whatever of its dependencies the machine lacks, and
 * unpacks them without installing anything. A folder that is there is whole: it is renamed into place.
 */
export async function unpackRedisServer(env: Environment): Promise<RedisServerProgram> {
  const cache = cacheFolder(env);
  await mkdir(cache, { recursive: true });
  const work = await mkdtemp(join(cache, "unpacking-"));
  try {
    await download(await packages(work), work);
    const unpacked = join(work, "root");
    for (const file of (await readdir(work)).filter((name) => name.endsWith(".deb"))) {
      await run("dpkg", ["-x", join(work, file), unpacked]);
    }
    const root = join(cache, "root");
    await rm(root, { recursive: true, force: true });
    await rename(unpacked, root);
    return programIn(root);
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}

const PROGRAM = "usr/bin/redis-server";

function cacheFolder(env: Environment): string {
  return join(
    env["XDG_CACHE_HOME"] || join(env["HOME"] ?? homedir(), ".cache"),
    "rankfleet",
    "redis",
  );
}

function programIn(root: string): RedisServerProgram {
  const machine = { x64: "x86_64", arm64: "aarch64" }[process.arch as string] ?? process.arch;
  const libraries = [`usr/lib/${machine}-linux-gnu`, `lib/${machine}-linux-gnu`].map((folder) =>
    join(root, folder),
  );
  return { path: join(root, PROGRAM), env: { LD_LIBRARY_PATH: libraries.join(":") } };
}

interface Packages {
  readonly names: readonly string[];
  /** apt's options for private lists, where the machine's own are empty. */
  readonly options: readonly string[];
}

/** What apt would install: redis-server and the libraries that are not there yet. */
async function packages(work: string): Promise<Packages> {
  const own: string[] = [];
  const names = await simulate(own).catch(() => []);
  if (names.length > 0) return { names, options: own };
  // Without root apt cannot refresh the machine's lists, but it can fill lists of its own.
  await Promise.all(
    ["lists/partial", "cache/archives/partial"].map((name) =>
      mkdir(join(work, name), { recursive: true }),
    ),
  );
  const options = [
    "-o",
    `Dir::State::Lists=${join(work, "lists")}`,
    "-o",
    `Dir::Cache=${join(work, "cache")}`,
  ];
  await run("apt-get", [...options, "-qq", "update"]);
  return { names: await simulate(options), options };
}

async function simulate(options: readonly string[]): Promise<string[]> {
  const { stdout } = await run("apt-get", [
    ...options,
    "--simulate",
    "--no-install-recommends",
    "install",
    "redis-server",
  ]);
  return [...stdout.matchAll(/^Inst (\S+)/gmu)].map((match) => match[1]!);
}

async function download({ names, options }: Packages, folder: string): Promise<void> {
  await run("apt-get", [...options, "-qq", "download", ...names], { cwd: folder });
}
