import type { Redis } from "ioredis";
import { script } from "./script.ts";

/**
 * Commands on one key, one after the other and nothing between them, as a script: on a worker's connection
 * ({@link connect}) a full Redis takes them, where it would refuse the commands themselves.
 *
 * @returns the last one's reply.
 */
export type Write = (key: string, ...commands: readonly WriteCommand[]) => Promise<unknown>;

/** Without its key: `["hset", "field", "value"]`. */
export type WriteCommand = readonly [name: string, ...args: (string | number | Buffer)[]];

export function writeTo(redis: Redis): Write {
  const write = script(redis, "rankfleetWrite", { keys: 1, lua: WRITE_SCRIPT });
  return (key, ...commands) => write(key, ...argumentsOf(commands));
}

/**
 * As {@link Write}, by the attempt that holds a job's lease, whose lock has to be on the key's slot.
 *
 * @returns false if it is no longer the job's: nothing was written.
 */
export type LeasedWrite = (
  lease: { readonly lock: string; readonly token: string },
  key: string,
  ...commands: readonly WriteCommand[]
) => Promise<boolean>;

export function leasedWriteTo(redis: Redis): LeasedWrite {
  const write = script(redis, "rankfleetLeasedWrite", { keys: 2, lua: LEASED_WRITE_SCRIPT });
  return async ({ lock, token }, key, ...commands) =>
    (await write(key, lock, ...argumentsOf(commands), token)) !== LOST;
}

function argumentsOf(commands: readonly WriteCommand[]): (string | number | Buffer)[] {
  return commands.flatMap(([name, ...args]) => [name, args.length, ...args]);
}

/** KEYS: 1. ARGV: for each command its name, how many arguments follow, and those. */
const WRITE_SCRIPT = `
local at, reply = 1, nil
while ARGV[at + 1] do
  local last = at + 1 + tonumber(ARGV[at + 1])
  reply = redis.call(ARGV[at], KEYS[1], unpack(ARGV, at + 2, last))
  at = last + 1
end
return reply
`;

const LOST = "lost";
/** KEYS: 1, the lock. ARGV: the same, and last the token. */
const LEASED_WRITE_SCRIPT = `
if redis.call("get", KEYS[2]) ~= ARGV[#ARGV] then return "${LOST}" end
${WRITE_SCRIPT}`;
