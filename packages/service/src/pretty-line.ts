/** A JSON log line as a person reads it: `12:30:01.250 WARN  message key=value`. */
export function prettyLine(line: string): string {
  const { time, level, msg, err, ...rest } = JSON.parse(line) as Record<string, unknown>;
  for (const name of EVERY_LINE_HAS) delete rest[name];
  const clock = String(time).slice(11, 23);
  const fields = Object.entries(rest).map(([key, value]) => ` ${key}=${word(value)}`);
  const head = `${clock} ${String(level).toUpperCase().padEnd(5)} ${word(msg ?? "")}`;
  return `${head}${fields.join("")}\n${stackOf(err)}`;
}

const EVERY_LINE_HAS = ["service", "pid", "host"];

function word(value: unknown): string {
  return typeof value === "string" ? value : JSON.stringify(value);
}

function stackOf(err: unknown): string {
  if (typeof err !== "object" || err === null) return "";
  const stack = "stack" in err ? err.stack : JSON.stringify(err);
  return `${String(stack).replaceAll(/^/gm, "    ")}\n`;
}
