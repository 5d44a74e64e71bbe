import { hostname } from "node:os";
import { isMainThread } from "node:worker_threads";
import { trace } from "@opentelemetry/api";
import {
  destination,
  type DestinationStream,
  type Logger,
  pino,
  stdSerializers,
  stdTimeFunctions,
} from "pino";
import { prettyLine } from "./pretty-line.ts";
import { redactUrl } from "./redact-url.ts";

export type Log = Logger;

export const LOG_LEVELS: readonly LogLevel[] = [
  "trace",
  "debug",
  "info",
  "warn",
  "error",
  "fatal",
  "silent",
];

export type LogLevel = "trace" | "debug" | "info" | "warn" | "error" | "fatal" | "silent";

export interface LogOptions {
  /** The service, in every line. */
  readonly name: string;
  readonly level: LogLevel;
  /** One readable line per entry, for a person at a terminal, in place of JSON. Default false. */
  readonly pretty?: boolean;
  /** Where lines go; default standard error, since standard output belongs to results. */
  readonly stream?: DestinationStream;
}

/**
 * JSON lines with ISO time, level name, service, pid and host, and the active span's ids if there
 * is one. Credentials in URLs are hidden wherever they appear, error messages included, and so are the arguments of
 * commands that Redis refused: a password, or a job's texts. Writing does not block; what is still buffered is
 * written when the process exits, by `process.exit` too.
 */
export function createLog(options: LogOptions): Log {
  const { name, level, pretty = false, stream = standardError() } = options;
  return pino(
    {
      level,
      base: { service: name, pid: process.pid, host: hostname() },
      timestamp: stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
      mixin: activeSpan,
      serializers: { err: serializeError },
      hooks: {
        streamWrite: (line) => redactUrl(pretty ? prettyLine(line) : line),
      },
    },
    stream,
  );
}

function serializeError(error: unknown): unknown {
  return error instanceof Error ? withoutArguments(stdSerializers.err(error)) : error;
}

/** ioredis puts the command, `{ name, args }`, into the error; errors may hold others. */
function withoutArguments(error: object): object {
  return Object.fromEntries(
    Object.entries(error).map(([key, value]: [string, unknown]) => {
      if (Array.isArray(value))
        return [key, value.map((each) => (isError(each) ? withoutArguments(each) : each))];
      if (typeof value !== "object" || value === null) return [key, value];
      if (key === "command") return [key, "name" in value ? value.name : undefined];
      return [key, isError(value) ? withoutArguments(value) : value];
    }),
  );
}

function isError(value: unknown): value is object {
  return typeof value === "object" && value !== null && "stack" in value;
}

// Pino flushes at exit only in the main thread; elsewhere a buffer would lose the last lines.
function standardError(): DestinationStream {
  return destination({ fd: 2, sync: !isMainThread });
}

function activeSpan(): object {
  const context = trace.getActiveSpan()?.spanContext();
  return context === undefined ? {} : { trace_id: context.traceId, span_id: context.spanId };
}
