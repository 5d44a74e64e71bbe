import { InvalidArgumentError, Option } from "commander";

/** `--redis`, as every command that talks to a running fleet has it. */
export function redisOption(): Option {
  return new Option("--redis <url>", "where the queues are")
    .env("REDIS_URL")
    .default("redis://127.0.0.1:6379");
}

export function prefixOption(): Option {
  return new Option("--prefix <text>", "what all keys in Redis begin with")
    .env("RANKFLEET_PREFIX")
    .default("rankfleet");
}

export function positive(text: string): number {
  if (/^[1-9]\d*$/u.test(text)) return Number(text);
  throw new InvalidArgumentError("must be a whole number of at least 1.");
}

export function jsonObject(text: string): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(text);
    if (typeof value === "object" && value !== null && !Array.isArray(value)) {
      return value as Record<string, unknown>;
    }
  } catch {
    // Said below.
  }
  throw new InvalidArgumentError("must be a JSON object.");
}
