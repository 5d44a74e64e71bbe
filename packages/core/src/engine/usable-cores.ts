import { readFileSync } from "node:fs";
import { availableParallelism } from "node:os";

/** Cores that this process may use: those of the machine, or what its container's quota comes to, if that is less. */
export function usableCores(): number {
  return Math.min(availableParallelism(), quotaOf(readQuota()));
}

/** @param cpuMax What cgroup v2 has in `cpu.max`: `<quota> <period>` in microseconds, or `max <period>`. */
export function quotaOf(cpuMax: string): number {
  const [quota, period] = cpuMax.trim().split(/\s+/u).map(Number);
  return quota! > 0 && period! > 0 ? Math.max(1, Math.ceil(quota! / period!)) : Infinity;
}

/** libuv reads it from its version 1.49 on; Node 20 has 1.46. */
function readQuota(): string {
  try {
    return readFileSync("/sys/fs/cgroup/cpu.max", "utf8");
  } catch {
    return "max";
  }
}
