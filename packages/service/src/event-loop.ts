import { type IntervalHistogram, monitorEventLoopDelay } from "node:perf_hooks";

/**
 * How late the event loop runs timers: the 99th percentile over a window, which shows a thread that
 * is blocked now and forgets one that was.
 */
export interface EventLoopWatch {
  lagSeconds(): number;
  close(): void;
}

/**
 * A window ends at the first reading after `windowMs`; readings inside it get the value of the last
 * full one, so that a scrape and an OTLP export in the same moment agree.
 */
export function watchEventLoop(
  options: { windowMs?: number; now?: () => number } = {},
): EventLoopWatch {
  const { windowMs = 5_000, now = () => performance.now() } = options;
  const delays = monitorEventLoopDelay({ resolution: RESOLUTION_MS });
  delays.enable();
  let windowStartedAt = now();
  let lastWindow: number | undefined;
  return {
    lagSeconds() {
      const isOver = now() - windowStartedAt >= windowMs;
      if (lastWindow !== undefined && !isOver) return lastWindow;
      const lag = percentile99Seconds(delays);
      if (isOver) {
        lastWindow = lag;
        windowStartedAt = now();
        delays.reset();
      }
      return lag;
    },
    close() {
      delays.disable();
    },
  };
}

/**
 * Node measures the time between two of its ticks, not the delay, so an idle loop reads as this; it is taken off. Each
 * tick wakes the process: at 10 ms, an idle worker takes 0.7 % of a core for them.
 */
const RESOLUTION_MS = 50;

function percentile99Seconds(delays: IntervalHistogram): number {
  // The percentile of no samples is 511, not 0.
  if (delays.count === 0) return 0;
  return Math.max(0, delays.percentile(99) / 1e9 - RESOLUTION_MS / 1e3);
}
