import { execFile } from "node:child_process";
import { promisify } from "node:util";

/** A Redis server program, and what its environment must have. */
export interface RedisServerProgram {
  readonly path: string;
  readonly env: Readonly<Record<string, string>>;
}

/**
 * Runs `--version`, which fails if a shared library is missing or the file is for another machine.
 *
 * @throws what the attempt failed with.
 */
export async function probe(
  { path, env }: RedisServerProgram,
  signal?: AbortSignal,
): Promise<void> {
  await promisify(execFile)(path, ["--version"], {
    env: { ...process.env, ...env },
    timeout: 10_000,
    ...(signal === undefined ? {} : { signal }),
  });
}

/** @throws the signal's reason: Ctrl-C at a terminal ends the attempt too, which says nothing of the program. */
export async function isRunnable(
  program: RedisServerProgram,
  signal?: AbortSignal,
): Promise<boolean> {
  const runs = await probe(program, signal).then(
    () => true,
    () => false,
  );
  signal?.throwIfAborted();
  return runs;
}
