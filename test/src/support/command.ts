import { spawn } from "node:child_process";
import { once } from "node:events";
import { readdirSync, readFileSync } from "node:fs";
import { cli } from "./fleet.ts";

export interface Ended {
  readonly code: number | string;
  readonly stdout: string;
  readonly stderr: string;
}

/** A command of the built CLI, in a process group of its own. */
export function startCommand(
  args: readonly string[],
  env: Readonly<Record<string, string>>,
): {
  pid: number;
  firstWords: Promise<unknown>;
  firstOutput: Promise<unknown>;
  ended: Promise<Ended>;
} {
  const child = spawn(process.execPath, [cli, ...args], {
    env: { ...process.env, ...env },
    stdio: ["ignore", "pipe", "pipe"],
    detached: true,
  });
  let [stdout, stderr] = ["", ""];
  child.stdout.on("data", (chunk: Buffer) => (stdout += chunk.toString()));
  child.stderr.on("data", (chunk: Buffer) => (stderr += chunk.toString()));
  const ended = once(child, "close").then(([code, signal]) => ({
    code: (code ?? signal) as number | string,
    stdout,
    stderr,
  }));
  return {
    pid: child.pid!,
    firstWords: once(child.stderr, "data"),
    firstOutput: once(child.stdout, "data"),
    ended,
  };
}

/** Processes whose environment holds the marker: all that the command started, and itself. */
export function processesWith(marker: string): string[] {
  return readdirSync("/proc").filter((pid) => {
    if (!/^\d+$/u.test(pid)) return false;
    try {
      return readFileSync(`/proc/${pid}/environ`, "utf8").includes(marker);
    } catch {
      return false;
    }
  });
}
