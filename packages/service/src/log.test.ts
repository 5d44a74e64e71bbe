import { expect, test } from "vitest";
import { createLog, type LogOptions } from "./log.ts";

function logged(options: Partial<LogOptions>, use: (log: ReturnType<typeof createLog>) => void) {
  const lines: string[] = [];
  const stream = { write: (line: string): void => void lines.push(line) };
  use(createLog({ name: "worker", level: "info", stream, ...options }));
  return lines;
}

test("a line is JSON with ISO time, level name, service, pid and host", () => {
  const [line] = logged({}, (log) => log.info({ jobs: 3 }, "started"));
  const entry = JSON.parse(line ?? "") as Record<string, unknown>;
  expect(entry).toMatchObject({
    level: "info",
    service: "worker",
    pid: process.pid,
    host: expect.any(String),
    jobs: 3,
    msg: "started",
  });
  expect(new Date(String(entry["time"])).toISOString()).toBe(entry["time"]);
});

test("lines below the level are not written", () => {
  expect(logged({ level: "warn" }, (log) => log.info("hidden"))).toEqual([]);
});

test("passwords in URLs are hidden in fields, messages, errors and children", () => {
  const url = "redis://app:hush@host:6379";
  const lines = logged({}, (log) => {
    log.info({ settings: { redis: url } }, `connecting to ${url}`);
    log.error({ err: new Error(`cannot reach ${url}`) });
    log.child({ redis: url }).info("child");
  });
  expect(lines).toHaveLength(3);
  expect(lines.join("")).not.toContain("hush");
  expect(lines.join("")).toContain("redis://app:***@host:6379");
});

test("what a refused command was given is hidden, in errors inside errors too", () => {
  const refused = (): Error =>
    Object.assign(new Error("WRONGPASS invalid"), {
      command: { name: "hello", args: ["3", "AUTH", "default", "hush"] },
    });
  const lines = logged({}, (log) => {
    log.error({ err: refused() });
    log.error({ err: Object.assign(new Error("no node"), { lastNodeError: refused() }) });
    log.error({ err: new AggregateError([refused()], "none") });
    log.error({ err: new Error("outer", { cause: refused() }) });
  });
  expect(lines.join("")).not.toContain("hush");
  expect(JSON.parse(lines[0]!)).toMatchObject({
    err: { type: "Error", message: "WRONGPASS invalid", command: "hello" },
  });
});

test("pretty lines are for reading", () => {
  const lines = logged({ pretty: true }, (log) => {
    log.warn({ model: "box", seconds: 1.5 }, "slow batch");
    log.error({ err: new Error("broken") }, "failed");
  });
  expect(lines[0]).toMatch(/^\d\d:\d\d:\d\d\.\d{3} WARN {2}slow batch model=box seconds=1\.5\n$/);
  expect(lines[1]).toMatch(/ERROR failed\n {4}Error: broken\n {8}at /);
});
