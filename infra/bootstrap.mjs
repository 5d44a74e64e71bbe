// What `npm run demo`, `npm test` and `npm run check` start with: brings pnpm, installs, builds, and
// runs the command. Needs Node and npm, nothing else; prints to standard error only, since standard
// output belongs to the command. A second run finds everything done and starts at once.
import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { constants } from "node:os";
import { delimiter, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const bin = join(root, "node_modules", ".bin");
const stamp = join(root, "node_modules", ".rankfleet-installed");

// Of the bench's producer: workers have their own (apps/worker/src/node-flags.ts). Of one size from the start, for the bench
// also watches whether memory grows.
const YOUNG_GENERATION = ["--min-semi-space-size=64", "--max-semi-space-size=64"];

const commands = {
  demo: (args) => [[process.execPath, ["apps/cli/bin/rankfleet.mjs", "demo", ...args]]],
  chaos: (args) => [[process.execPath, ["test/dist/chaos/main.js", ...args]]],
  bench: (args) => [[process.execPath, [...YOUNG_GENERATION, "bench/dist/main.js", ...args]]],
  test: (args) => [[join(bin, "vitest"), ["run", ...args]]],
  check: () => [
    [join(bin, "oxfmt"), ["--check", "."]],
    [join(bin, "oxlint"), ["--type-aware", "--deny-warnings"]],
  ],
};

const [name = "", ...args] = process.argv.slice(2);
await main();

async function main() {
  const command = commands[name];
  if (command === undefined)
    fail(`usage: node infra/bootstrap.mjs ${Object.keys(commands).join("|")}`);
  const [major = 0, minor = 0] = process.versions.node.split(".").map(Number);
  if (major < 20 || (major === 20 && minor < 19)) {
    fail(`rankfleet needs Node 20.19 or later; this is ${process.versions.node}`);
  }
  const pnpm = await findPnpm();
  await install(pnpm);
  await build(pnpm);
  let failed = 0;
  for (const [program, programArgs] of command(args)) {
    const code = await run(program, programArgs, { stdio: "inherit" });
    if (code !== 0) failed = code;
  }
  process.exitCode = failed;
}

/** The folder of the pnpm that package.json asks for; brought through npm if it is not installed. */
async function findPnpm() {
  const [, version] = JSON.parse(
    readFileSync(join(root, "package.json"), "utf8"),
  ).packageManager.split("@");
  const cache = join(root, ".cache", `pnpm-${version}`);
  const folder = join(cache, "node_modules", ".bin");
  if (existsSync(join(folder, "pnpm"))) return folder;
  say(`fetching pnpm ${version} (first run only)`);
  await must("npm", [
    "install",
    "--loglevel=error",
    "--no-audit",
    "--no-fund",
    "--prefix",
    cache,
    `pnpm@${version}`,
  ]);
  return folder;
}

async function install(pnpm) {
  const manifests = [
    "package.json",
    "pnpm-lock.yaml",
    "pnpm-workspace.yaml",
    ...workspaceManifests(),
  ];
  const hash = createHash("sha256").update(process.version);
  for (const file of manifests) hash.update(readFileSync(join(root, file)));
  const wanted = hash.digest("hex");
  if (existsSync(stamp) && readFileSync(stamp, "utf8") === wanted) return;
  say("installing packages (first run, or they have changed)");
  await must(join(pnpm, "pnpm"), ["install", "--frozen-lockfile", "--reporter=append-only"]);
  writeFileSync(stamp, wanted);
}

function workspaceManifests() {
  return ["apps", "packages", "."]
    .flatMap((folder) =>
      readdirSync(join(root, folder)).map((entry) => join(folder, entry, "package.json")),
    )
    .filter((file) => !file.startsWith("node_modules") && existsSync(join(root, file)))
    .sort();
}

async function build(pnpm) {
  await must(join(bin, "turbo"), ["run", "build", "--output-logs=errors-only"], {
    PATH: `${pnpm}${delimiter}${process.env.PATH}`,
    TURBO_TELEMETRY_DISABLED: "1",
    TURBO_NO_UPDATE_NOTIFIER: "1",
  });
}

/** Runs a step quietly; shows what it printed if it fails. */
async function must(program, programArgs, env = {}) {
  const output = [];
  const code = await run(program, programArgs, {
    stdio: ["ignore", "pipe", "pipe"],
    env: { ...process.env, ...env },
    onOutput: (chunk) => output.push(chunk),
  });
  if (code === 0) return;
  process.stderr.write(Buffer.concat(output));
  fail(`${[program, ...programArgs].join(" ")} failed with code ${code}`, code);
}

/** The child's exit code. Signals go to the child; we end when it has ended. */
function run(program, programArgs, { onOutput, ...options }) {
  return new Promise((resolve) => {
    const child = spawn(program, programArgs, { cwd: root, ...options });
    child.stdout?.on("data", onOutput);
    child.stderr?.on("data", onOutput);
    // A terminal signals the whole group, so the child has Ctrl-C already; we only wait for it.
    const ignore = () => {};
    const forward = () => child.kill("SIGTERM");
    process.on("SIGINT", ignore).on("SIGTERM", forward);
    const done = (code) => {
      process.off("SIGINT", ignore).off("SIGTERM", forward);
      resolve(code);
    };
    child.on("error", (error) => {
      say(`${program}: ${error.message}`);
      done(127);
    });
    child.on("close", (code, signal) => done(code ?? 128 + constants.signals[signal]));
  });
}

function say(line) {
  process.stderr.write(`rankfleet: ${line}\n`);
}

function fail(line, code = 1) {
  say(line);
  process.exit(code);
}
