import {
  DeadlineExceededError,
  RankfleetError,
  type BackpressureError,
} from "@rankfleet/queue/contract";
import type { RerankClientOptions } from "./options.ts";

/**
 * Does what needs room in the backlog, again and again until there is some.
 *
 * @throws what `attempt` throws, but for backpressure; DeadlineExceededError; the signal's reason.
 */
export async function waitForRoom<Result>(
  attempt: () => Promise<Result>,
  { whenFull, onWait }: Pick<RerankClientOptions, "whenFull" | "onWait">,
  { signal, deadlineMs }: { signal?: AbortSignal | undefined; deadlineMs?: number | undefined },
): Promise<Result> {
  for (let delayMs = FIRST_DELAY_MS; ; delayMs = Math.min(2 * delayMs, LONGEST_DELAY_MS)) {
    try {
      return await attempt();
    } catch (error) {
      if (!isBackpressure(error) || whenFull === "fail") throw error;
      onWait?.({ etaMs: error.etaMs, reason: error.message });
      // Not the whole time that is foreseen: room comes bit by bit, and others wait for it too.
      const nextMs = Math.max(delayMs, Math.min(LONGEST_DELAY_MS, (error.etaMs ?? 0) / 4));
      await sleep(nextMs * (0.75 + 0.5 * Math.random()), signal);
      if (deadlineMs !== undefined && deadlineMs <= Date.now()) {
        throw new DeadlineExceededError(
          "deadline_exceeded",
          `the deadline was over before there was room: ${error.message}`,
          { field: "deadline", cause: error },
        );
      }
    }
  }
}

const FIRST_DELAY_MS = 100;
const LONGEST_DELAY_MS = 5_000;

function isBackpressure(error: unknown): error is BackpressureError {
  return RankfleetError.isInstance(error) && error.code === "backpressure";
}

function sleep(ms: number, signal: AbortSignal | undefined): Promise<void> {
  signal?.throwIfAborted();
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => {
      signal?.removeEventListener("abort", onAbort);
      resolve();
    }, ms);
    const onAbort = (): void => {
      clearTimeout(timer);
      reject(signal?.reason);
    };
    signal?.addEventListener("abort", onAbort, { once: true });
  });
}
