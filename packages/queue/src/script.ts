import type { Redis } from "ioredis";

/** A Lua script as a function: keys first, then arguments. Redis is sent its text once, then its digest. */
export type Script = (...keysAndArguments: (string | number | Buffer)[]) => Promise<unknown>;

/** @param name Of the command on this connection; the same name is the same script. */
export function script(
  redis: Redis,
  name: string,
  { keys, lua }: { readonly keys: number; readonly lua: string },
): Script {
  redis.defineCommand(name, { numberOfKeys: keys, lua });
  const command = (redis as unknown as Record<string, Script>)[name]!;
  return (...all) => command.apply(redis, all);
}
