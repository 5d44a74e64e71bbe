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
export async function probe({ path, env }: RedisServerProgram): Promise<void> {
  await promisify(execFile)(path, ["--version"], {
    env: { ...process.env, ...env },
    timeout: 10_000,
  });
}

export async function isRunnable(program: RedisServerProgram): Promise<boolean> {
  return probe(program).then(
    () => true,
    () => false,
  );
}
