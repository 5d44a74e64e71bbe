import { setMaxListeners } from "node:events";

/**
 * Aborts on Ctrl-C or SIGTERM, so that a command can clean up; a second one ends it at once. The exit code is
 * set by then: whatever fails once it has aborted is part of the ending and no error to be told.
 */
export function interruptSignal(): AbortSignal {
  const controller = new AbortController();
  // Everything that is under way listens to it, which is no leak.
  setMaxListeners(0, controller.signal);
  let signals = 0;
  for (const [signal, code] of [
    ["SIGINT", 130],
    ["SIGTERM", 143],
  ] as const) {
    process.on(signal, () => {
      if (++signals > 1) process.exit(code);
      process.exitCode = code;
      controller.abort(new Interrupted(signal));
    });
  }
  return controller.signal;
}

export class Interrupted extends Error {
  override readonly name = "Interrupted";
  readonly code = "interrupted";

  readonly signal: NodeJS.Signals;

  constructor(signal: NodeJS.Signals) {
    super("interrupted");
    this.signal = signal;
  }
}
