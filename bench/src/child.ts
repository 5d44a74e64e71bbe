import type { ChildProcess } from "node:child_process";
import { once } from "node:events";

/**
 * The first message of a child process, by which it says that it is ready.
 *
 * @throws Error if it ends before that.
 */
export async function firstMessage(child: ChildProcess): Promise<unknown> {
  const ended = new AbortController();
  const onExit = (code: number | null, signal: string | null): void =>
    ended.abort(new Error(`a worker ended with ${code ?? signal} before it was ready`));
  child.once("exit", onExit);
  try {
    const [message] = (await once(child, "message", { signal: ended.signal })) as [unknown];
    return message;
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
