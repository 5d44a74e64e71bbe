import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";

export interface StartedChild {
  readonly child: ChildProcess;
  /** What it said when it was ready. */
  readonly message: unknown;
}

const alive = new Set<ChildProcess>();
process.once("exit", () => {
  for (const child of alive) child.kill("SIGKILL");
});

/**
 * A Node process, once it has sent its first message. It ends with this process, and knows none of the user's own
 * settings of rankfleet.
 *
 * @throws Error if it ends before that.
 */
export async function startChild(
  args: readonly string[],
  env: NodeJS.ProcessEnv = {},
): Promise<StartedChild> {
  const inherited = Object.entries(process.env).filter(([name]) => !name.startsWith("RANKFLEET_"));
  const child = spawn(process.execPath, args, {
    env: { ...Object.fromEntries(inherited), ...env },
    stdio: ["ignore", "inherit", "inherit", "ipc"],
  });
  alive.add(child);
  child.once("exit", () => alive.delete(child));
  const ended = new AbortController();
  const onExit = (code: number | null, signal: string | null): void =>
    ended.abort(new Error(`a worker ended with ${code ?? signal} before it was ready`));
  child.once("exit", onExit);
  try {
    const [message] = (await once(child, "message", { signal: ended.signal })) as [unknown];
    return { child, message };
  } catch (error) {
    throw ended.signal.aborted ? ended.signal.reason : error;
  } finally {
    child.off("exit", onExit);
  }
}

/** Ends a child process, if it has not ended by itself. */
export async function endChild(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const exited = once(child, "exit");
  child.kill("SIGTERM");
  await exited;
}
