import type { RedisClock } from "@rankfleet/queue";
import { DeadlineExceededError } from "@rankfleet/queue/contract";

/** Aborts when the job's deadline is over, or its lease lost. */
export class TimeLimit {
  readonly signal: AbortSignal;
  /** The deadline by this process's clock; the job's is in Redis's time. */
  readonly deadline: number | undefined;
  readonly #timer: NodeJS.Timeout | undefined;

  constructor(
    deadline: number | undefined,
    clock: Pick<RedisClock, "now">,
    lease: AbortSignal | undefined,
  ) {
    if (deadline === undefined) {
      this.signal = lease ?? new AbortController().signal;
      return;
    }
    const controller = new AbortController();
    this.signal =
      lease === undefined ? controller.signal : AbortSignal.any([controller.signal, lease]);
    const over = (): void => controller.abort(pastDeadline());
    const leftMs = deadline - clock.now();
    this.deadline = Date.now() + leftMs;
    if (leftMs <= 0) over();
    else this.#timer = setTimeout(over, Math.min(leftMs, 2 ** 31 - 1));
  }

  clear(): void {
    clearTimeout(this.#timer);
  }
}

function pastDeadline(): DeadlineExceededError {
  return new DeadlineExceededError(
    "deadline_exceeded",
    "the deadline was over before the job was scored",
    {
      field: "deadline",
    },
  );
}
