import { execFile } from "node:child_process";
import { access, mkdir, mkdtemp, readdir, rename, rm } from "node:fs/promises";
import { homedir, tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";

/** What a process needs in its environment for the WebGPU provider to run without a GPU. */
export type SoftwareGpu = { readonly env: Readonly<Record<string, string>> } | { missing: string };

const FILES = ["vk_swiftshader_icd.json", "libvk_swiftshader.so", "libvulkan.so.1"];
const run = promisify(execFile);

/**
 * SwiftShader, the Vulkan driver in software that Debian's chromium brings: the installed one, or its three
 * files out of the package `chromium-common` (32 MB), which is unpacked once into the user's cache.
 */
export async function softwareGpu(): Promise<SoftwareGpu> {
  if (process.platform !== "linux" || process.arch !== "x64") {
    return { missing: "onnxruntime-node has its WebGPU provider for Linux x64" };
  }
  const cache = join(homedir(), ".cache", "rankfleet");
  const unpacked = join(cache, "swiftshader");
  for (const folder of ["/usr/lib/chromium", unpacked]) {
    if (await hasAll(folder)) return { env: environment(folder) };
  }
  if (!(await isThere("/usr/bin/apt-get"))) return { missing: "neither chromium nor apt-get" };
  await mkdir(cache, { recursive: true });
  const work = await mkdtemp(join(cache, "unpacking-"));
  try {
    await download(work);
    const [deb] = (await readdir(work)).filter((name) => name.endsWith(".deb"));
    await run("dpkg", ["-x", join(work, deb!), join(work, "root")]);
    const found = join(work, "root", "usr", "lib", "chromium");
    if (!(await hasAll(found))) return { missing: `${deb} holds no ${FILES.join(", ")}` };
    await rename(found, unpacked);
    return { env: environment(unpacked) };
  } catch (error) {
    return { missing: error instanceof Error ? error.message : String(error) };
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}

function environment(folder: string): Record<string, string> {
  return {
    VK_DRIVER_FILES: join(folder, "vk_swiftshader_icd.json"),
    LD_LIBRARY_PATH: folder,
    XDG_RUNTIME_DIR: tmpdir(),
  };
}

/** As root apt would download as the user _apt, who cannot write to our folder. */
async function download(folder: string): Promise<void> {
  const apt = ["--option=APT::Sandbox::User=root", "-qq"];
  const options = { cwd: folder, timeout: 180_000 };
  await run("apt-get", [...apt, "download", "chromium-common"], options).catch(async () => {
    // Empty or stale lists; without root apt can fill lists of its own.
    await mkdir(join(folder, "lists", "partial"), { recursive: true });
    await mkdir(join(folder, "cache", "archives", "partial"), { recursive: true });
    const own = [
      `--option=Dir::State::Lists=${join(folder, "lists")}`,
      `--option=Dir::Cache=${join(folder, "cache")}`,
    ];
    await run("apt-get", [...apt, ...own, "update"], options);
    await run("apt-get", [...apt, ...own, "download", "chromium-common"], options);
  });
}

async function hasAll(folder: string): Promise<boolean> {
  const there = await Promise.all(FILES.map((file) => isThere(join(folder, file))));
  return there.every(Boolean);
}

function isThere(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}
