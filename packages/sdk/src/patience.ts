import { onAbort } from "@rankfleet/queue";
import { DeadlineExceededError, RankfleetError } from "@rankfleet/queue/contract";
import type { RerankClientOptions } from "./options.ts";

/** What is waited for, and until when. */
export interface Patience extends Pick<RerankClientOptions, "whenFull" | "onWait"> {
  /** Also while Redis is away, as a bulk does that runs for hours. */
  readonly isForBulk?: boolean;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Does what needs Redis, or room in the backlog, again and again until it is there. `attempt` must be safe to
 * repeat.
 *
 * @param deadlineMs By this host's clock, in milliseconds since 1970.
 * @throws what `attempt` throws, but for what is waited for; DeadlineExceededError; the signal's reason.
 */
export async function withPatience<Result>(
  attempt: () => Promise<Result>,
  patience: Patience,
  deadlineMs?: number,
): Promise<Result> {
  const { signal, onWait } = patience;
  for (let delayMs = FIRST_DELAY_MS; ; delayMs = Math.min(2 * delayMs, LONGEST_DELAY_MS)) {
    try {
      return await orOver(attempt(), signal, deadlineMs);
    } catch (error) {
      if (!isWaitedFor(error, patience)) throw error;
      const etaMs = "etaMs" in error ? (error.etaMs as number | undefined) : undefined;
      onWait?.({ etaMs, reason: error.message });
      // Not the whole time that is foreseen: room comes bit by bit, and others wait for it too.
      const nextMs = Math.max(delayMs, Math.min(LONGEST_DELAY_MS, (etaMs ?? 0) / 4));
      const leftMs = deadlineMs === undefined ? Infinity : Math.max(0, deadlineMs - Date.now());
      await sleep(Math.min(leftMs, nextMs * (0.75 + 0.5 * Math.random())), signal);
      if (deadlineMs !== undefined && deadlineMs <= Date.now()) throw tooLate(error);
    }
  }
}

/** What is under way, unless signal or deadline come first: with Redis away it may take long. */
function orOver<Result>(
  underWay: Promise<Result>,
  signal: AbortSignal | undefined,
  deadlineMs: number | undefined,
): Promise<Result> {
  if (signal === undefined && deadlineMs === undefined) return underWay;
  return new Promise((resolve, reject) => {
    // One that has aborted already tells nobody any more.
    if (signal?.aborted) reject(signal.reason);
    const stop = signal === undefined ? undefined : onAbort(signal, () => reject(signal.reason));
    const leftMs = deadlineMs === undefined ? Infinity : Math.max(0, deadlineMs - Date.now());
    const timer =
      leftMs > MAX_TIMER_MS ? undefined : setTimeout(() => reject(tooLate(undefined)), leftMs);
    void underWay.then(resolve, reject).finally(() => {
      stop?.();
      clearTimeout(timer);
    });
  });
}

function tooLate(cause: Error | undefined): DeadlineExceededError {
  const why = cause === undefined ? "" : `: ${cause.message}`;
  return new DeadlineExceededError(
    "deadline_exceeded",
    `the deadline was over before the job was accepted${why}`,
    { field: "deadline", cause },
  );
}

/** Node's timers end at 2^31 ms. */
export const MAX_TIMER_MS: number = 2 ** 31 - 1;
const FIRST_DELAY_MS = 100;
const LONGEST_DELAY_MS = 5_000;

function isWaitedFor(
  error: unknown,
  { whenFull, isForBulk }: Pick<Patience, "whenFull" | "isForBulk">,
): error is RankfleetError {
  if (!RankfleetError.isInstance(error)) return false;
  if (error.code === "backpressure") return whenFull !== "fail";
  return error.code === "redis_unavailable" && isForBulk === true;
}

function sleep(ms: number, signal: AbortSignal | undefined): Promise<void> {
  signal?.throwIfAborted();
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => {
      stop?.();
      resolve();
    }, ms);
    const stop =
      signal &&
      onAbort(signal, () => {
        clearTimeout(timer);
        reject(signal.reason);
      });
  });
}
