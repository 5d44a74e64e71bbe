import { spawn } from "node:child_process";
import { once } from "node:events";
import { constants } from "node:os";
import { DEFAULT_PREFIX } from "@rankfleet/queue/contract";
import type { Command } from "commander";
import { startFleet, type Fleet } from "../fleet.ts";
import { interruptSignal, type Interrupted } from "../interrupt.ts";
import { positive } from "../options.ts";

export function configureDev(command: Command): void {
  command
    .argument("[command...]", "a program that finds the fleet in REDIS_URL")
    .option("--workers <number>", "worker processes", positive, 1)
    .option(
      "--model <name=folder>",
      "a model to serve; may be repeated (default: box)",
      (value: string, before: string[] | undefined) => [...(before ?? []), value],
    )
    .passThroughOptions()
    .addHelpText(
      "after",
      `
Examples:
  rankfleet dev node example.mjs     run a program against a fleet of its own
  rankfleet dev --workers 2          keep a fleet until Ctrl-C; its REDIS_URL is printed`,
    )
    .action(dev);
}

async function dev(command: string[], flags: { workers: number; model?: string[] }): Promise<void> {
  const signal = interruptSignal();
  const say = (line: string): void => void process.stderr.write(`${line}\n`);
  let fleet: Fleet | undefined;
  try {
    fleet = await startFleet({ workers: flags.workers, models: flags.model, signal, say });
    if (command.length > 0) {
      await runCommand(command, fleet.redis, signal);
    } else {
      process.stdout.write(`export REDIS_URL=${fleet.redis}\n`);
      say(
        `${fleet.workers} worker${fleet.workers === 1 ? "" : "s"} ready; Ctrl-C ends them and Redis`,
      );
      await new Promise((resolve) => signal.addEventListener("abort", resolve, { once: true }));
    }
  } catch (error) {
    if (!signal.aborted) throw error;
  } finally {
    await fleet?.stop();
  }
}

/**
 * Runs a program; its exit code becomes ours. It gets our signals, but for the Ctrl-C of a terminal, which has
 * reached it already, and does not outlive us.
 */
async function runCommand(
  [program = "", ...args]: readonly string[],
  redis: string,
  signal: AbortSignal,
): Promise<void> {
  signal.throwIfAborted();
  const child = spawn(program, args, {
    stdio: "inherit",
    env: { ...process.env, REDIS_URL: redis, RANKFLEET_PREFIX: DEFAULT_PREFIX },
  });
  const pass = (): void => {
    const reason = signal.reason as Interrupted;
    if (reason.signal !== "SIGINT" || !process.stdin.isTTY) child.kill(reason.signal);
  };
  const end = (): void => void child.kill("SIGKILL");
  signal.addEventListener("abort", pass, { once: true });
  process.once("exit", end);
  const ending = once(child, "close").catch((cause: unknown) => {
    throw new ProgramError(`cannot start ${program}: ${(cause as Error).message}`);
  });
  const [code, ended] = (await ending) as [number | null, NodeJS.Signals | null];
  process.off("exit", end);
  process.exitCode = code ?? 128 + constants.signals[ended!];
}

class ProgramError extends Error {
  override readonly name = "ProgramError";
  readonly code = "program";
}
