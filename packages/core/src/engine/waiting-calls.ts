import { OTHERS_TURN } from "../batch/pair-queue.ts";

/** What a channel posts to its thread. */
export type ThreadCall<Request> =
  | { readonly id: number; readonly request: Request; readonly lane: number }
  | { readonly close: true };

/** Whose turn it is: the most urgent, unless the first has been overtaken often enough. Closing comes last. */
export class WaitingCalls<Request> {
  readonly #calls: ThreadCall<Request>[] = [];
  #overtaken = 0;

  push(call: ThreadCall<Request>): void {
    this.#calls.push(call);
  }

  next(): ThreadCall<Request> | undefined {
    const lanes = this.#calls.map((call) => ("close" in call ? Infinity : call.lane));
    const isFirstDue = this.#overtaken >= OTHERS_TURN && lanes[0] !== Infinity;
    const next = isFirstDue ? 0 : Math.max(0, lanes.indexOf(Math.min(...lanes)));
    this.#overtaken = next === 0 ? 0 : this.#overtaken + 1;
    return this.#calls.splice(next, 1)[0];
  }
}
