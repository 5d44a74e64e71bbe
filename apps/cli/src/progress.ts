import { SingleBar } from "cli-progress";
import { count } from "./print.ts";

export interface Progress {
  /** @param done Units done so far. @param pairs Pairs scored so far. */
  update(done: number, pairs: number): void;
  /** Says why nothing goes on, at most every ten seconds. */
  waiting(reason: string): void;
  stop(): void;
}

/** A bar on standard error: what is done, pairs/s, and the time that is left. A log line every 10 s where there is no terminal. */
export function startProgress(options: { total: number; unit: string; done?: number }): Progress {
  const view = process.stderr.isTTY ? bar(options) : lines(options);
  let next = 0;
  return {
    ...view,
    waiting(reason) {
      if (Date.now() < next) return;
      next = Date.now() + LINE_MS;
      process.stderr.write(`\nwaiting: ${reason}\n`);
    },
  };
}

type View = Pick<Progress, "update" | "stop">;

function bar({ total, unit, done = 0 }: { total: number; unit: string; done?: number }): View {
  const rate = new Rate();
  const view = new SingleBar({
    format: `  {bar} {percentage}%  {value}/{total} ${unit}  {rate} pairs/s  {left} left`,
    barCompleteChar: "█",
    barIncompleteChar: "░",
    barsize: 28,
    stream: process.stderr,
    hideCursor: true,
    clearOnComplete: false,
  });
  view.start(total, done, { rate: "–", left: "–" });
  return {
    update: (value, pairs) =>
      view.update(value, {
        rate: rate.pairsPerSecond(pairs),
        left: rate.left(value - done, total - done),
      }),
    stop: () => view.stop(),
  };
}

const LINE_MS = 10_000;

function lines({ total, unit, done = 0 }: { total: number; unit: string; done?: number }): View {
  const rate = new Rate();
  let next = Date.now() + LINE_MS;
  return {
    update(value, pairs) {
      if (Date.now() < next) return;
      next = Date.now() + LINE_MS;
      const left = rate.left(value - done, total - done);
      process.stderr.write(
        `${value}/${total} ${unit}  ${rate.pairsPerSecond(pairs)} pairs/s  ${left} left\n`,
      );
    },
    stop: () => {},
  };
}

class Rate {
  readonly #start = Date.now();

  pairsPerSecond(pairs: number): string {
    return count(pairs / this.#seconds);
  }

  left(done: number, total: number): string {
    if (done <= 0) return "–";
    const seconds = Math.ceil((this.#seconds * (total - done)) / done);
    if (seconds < 60) return `${seconds} s`;
    if (seconds < 3600) return `${Math.floor(seconds / 60)} min ${seconds % 60} s`;
    return `${Math.floor(seconds / 3600)} h ${Math.floor((seconds % 3600) / 60)} min`;
  }

  get #seconds(): number {
    return Math.max(0.001, (Date.now() - this.#start) / 1000);
  }
}
