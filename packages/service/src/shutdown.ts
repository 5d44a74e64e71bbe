/**
 * How a process ends.
 *
 *     running ──signal──▶ draining ──drained──▶ exit 0
 *                            │ └──drain failed──▶ exit 1
 *                 second signal or grace over
 *                            ▼
 *                         forced ──drained──▶ exit 0
 *                            └──LAST_CALL_MS, or third signal──▶ exit 128 + signal
 *
 * The drain runs once. Forcing aborts its `deadline`, so that it gives its jobs back instead of finishing
 * them. An exception or rejection that nobody handled is logged and exits 1
 * from any state, without a drain: the state of the process is unknown.
 */
import { constants } from "node:os";
import type { Log } from "./log.ts";

export interface ShutdownRequest {
  readonly reason: NodeJS.Signals;
  /** Aborts when the time for a clean end is over. */
  readonly deadline: AbortSignal;
}

export type Drain = (request: ShutdownRequest) => Promise<void>;

export interface ShutdownOptions {
  /** How long a drain may take before it is forced. */
  readonly graceMs: number;
  readonly log: Pick<Log, "info" | "warn" | "error" | "fatal">;
  /** Default SIGTERM and SIGINT. */
  readonly signals?: readonly NodeJS.Signals[];
  /** Default the real one. */
  readonly process?: ProcessLike;
}

export interface ProcessLike {
  on(event: string, listener: (cause: unknown) => void): unknown;
  off(event: string, listener: (cause: unknown) => void): unknown;
  exit(code: number): void;
}

/** Returns a function that stops listening, for a process that ended by itself. */
export function onShutdown(drain: Drain, options: ShutdownOptions): () => void {
  const { log, signals = ["SIGTERM", "SIGINT"], process: host = process } = options;
  const ending = new Ending(drain, options, (code) => host.exit(code));
  const die = (what: string) => (err: unknown) => {
    log.fatal({ err }, what);
    host.exit(1);
  };
  const listeners: [string, (cause: unknown) => void][] = [
    ...signals.map((signal): [string, () => void] => [signal, () => ending.take(signal)]),
    ["uncaughtException", die("uncaught exception")],
    ["unhandledRejection", die("unhandled rejection")],
  ];
  for (const [event, listener] of listeners) host.on(event, listener);
  return () => {
    for (const [event, listener] of listeners) host.off(event, listener);
  };
}

/** How long a forced drain is still waited for. */
const LAST_CALL_MS = 2_000;

class Ending {
  readonly #drain: Drain;
  readonly #options: ShutdownOptions;
  readonly #exit: (code: number) => void;
  readonly #forced = new AbortController();
  #state: "running" | "draining" | "forced" = "running";
  #timer: NodeJS.Timeout | undefined;

  constructor(drain: Drain, options: ShutdownOptions, exit: (code: number) => void) {
    this.#drain = drain;
    this.#options = options;
    this.#exit = exit;
  }

  take(signal: NodeJS.Signals): void {
    switch (this.#state) {
      case "running":
        void this.#run(signal);
        return;
      case "draining":
        this.#force(signal, "second signal");
        return;
      case "forced":
        this.#exit(forcedCode(signal));
        return;
    }
  }

  async #run(signal: NodeJS.Signals): Promise<void> {
    const { graceMs, log } = this.#options;
    this.#state = "draining";
    log.info({ signal, graceMs }, "shutting down: finishing the work in hand");
    this.#timer = setTimeout(() => this.#force(signal, "grace period over"), graceMs);
    let code = 0;
    try {
      await this.#drain({ reason: signal, deadline: this.#forced.signal });
    } catch (err) {
      log.error({ err }, "shutdown failed");
      code = 1;
    }
    clearTimeout(this.#timer);
    log.info({ code }, "shut down");
    this.#exit(code);
  }

  #force(signal: NodeJS.Signals, why: string): void {
    clearTimeout(this.#timer);
    this.#state = "forced";
    this.#options.log.warn({ signal, why }, "shutting down by force");
    this.#timer = setTimeout(() => this.#exit(forcedCode(signal)), LAST_CALL_MS);
    this.#forced.abort(new Error(why));
  }
}

function forcedCode(signal: NodeJS.Signals): number {
  return 128 + constants.signals[signal];
}
