import { examineRedis, type Finding } from "@rankfleet/queue";
import type { Command } from "commander";
import { prefixOption, redisOption } from "../options.ts";

export function configureDoctor(command: Command): void {
  command
    .addOption(redisOption())
    .addOption(prefixOption())
    .option("--json", "print JSON")
    .addHelpText(
      "after",
      `
Exit code 1 if something must be changed. What is promised under which settings: docs/GUARANTEES.md

Examples:
  rankfleet doctor --redis rediss://worker:secret@queue:6380
  rankfleet doctor --redis redis-sentinel://:secret@s1:26379,s2:26379/0#main
  rankfleet doctor --redis redis-cluster://:secret@n1:7000,n2:7001 --json`,
    )
    .action(doctor);
}

const MARKS: Readonly<Record<Finding["level"], string>> = {
  ok: "ok  ",
  warn: "warn",
  fail: "FAIL",
};

async function doctor(flags: { redis: string; prefix: string; json?: boolean }): Promise<void> {
  const findings = await examineRedis(flags.redis, flags.prefix);
  if (flags.json) process.stdout.write(`${JSON.stringify({ findings }, undefined, 2)}\n`);
  else {
    for (const { level, check, found, advice } of findings) {
      const what = advice === undefined ? found : `${found}: ${advice}`;
      process.stdout.write(`${MARKS[level]}  ${check.padEnd(12)} ${what}\n`);
    }
  }
  if (findings.some(({ level }) => level === "fail")) process.exitCode = 1;
}
