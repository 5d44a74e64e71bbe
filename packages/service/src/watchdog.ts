import { Worker } from "node:worker_threads";

/**
 * Ends a process that can no longer do its work, so that its supervisor starts another: a worker that has
 * lost Redis, or whose device does not answer, would otherwise look alive for ever.
 */
export interface Watchdog {
  close(): void;
}

export interface WatchdogOptions {
  /** How long something may be wrong. */
  readonly patienceMs: number;
  /** What is wrong now, if anything; asked every second or so. */
  readonly troubles: () => readonly string[];
  /** Told what has been wrong for all that time; must end the process. */
  readonly onBite: (trouble: string) => void;
}

/**
 * Watches from both sides: the main thread asks for troubles, and a thread of its own watches the main
 * thread, which cannot tell that it is stuck. Time is counted in looks, not read from a clock, so that a
 * machine that was asleep, or a process that was stopped, has not been in trouble.
 */
export function startWatchdog({ patienceMs, troubles, onBite }: WatchdogOptions): Watchdog {
  const everyMs = Math.max(50, Math.min(1_000, patienceMs / 10));
  const looks = Math.ceil(patienceMs / everyMs);
  const since = new Map<string, number>();
  const beat = new Int32Array(new SharedArrayBuffer(4));
  const timer = setInterval(() => {
    Atomics.add(beat, 0, 1);
    const now = troubles();
    for (const trouble of since.keys()) if (!now.includes(trouble)) since.delete(trouble);
    for (const trouble of now) {
      const count = (since.get(trouble) ?? 0) + 1;
      since.set(trouble, count);
      if (count === looks) onBite(trouble);
    }
  }, everyMs);
  timer.unref();
  const thread = new Worker(LOOK_FROM_OUTSIDE, {
    eval: true,
    name: "rankfleet-watchdog",
    execArgv: [],
    workerData: { beat, everyMs, looks },
  });
  thread.unref();
  return {
    close() {
      clearInterval(timer);
      void thread.terminate();
    },
  };
}

/**
 * SIGKILL, for a main thread that is stuck handles nothing gentler. Text, because it is all that the thread
 * runs, and so it is the same from source and from the build.
 */
const LOOK_FROM_OUTSIDE = `
const { workerData: { beat, everyMs, looks } } = require("node:worker_threads");
const { writeSync } = require("node:fs");
let last = -1;
let same = 0;
setInterval(() => {
  const now = Atomics.load(beat, 0);
  same = now === last ? same + 1 : 0;
  last = now;
  if (same < looks) return;
  writeSync(2, '{"level":"fatal","msg":"watchdog: the event loop has been stuck for ' + Math.round(same * everyMs / 1000) + ' s"}\\n');
  process.kill(process.pid, "SIGKILL");
}, everyMs);
`;
