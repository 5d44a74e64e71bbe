import { OTHERS_TURN } from "../batch/pair-queue.ts";

/** What a channel posts to its thread. */
export type ThreadCall<Request> = RequestCall<Request> | { readonly close: true };

export interface RequestCall<Request> {
  readonly id: number;
  readonly request: Request;
  readonly lane: number;
}

/** Whose turn it is: the most urgent, unless the first has been overtaken often enough. Closing comes last. */
export class WaitingCalls<Request> {
  /** Of each lane, first come first. */
  readonly #lanes = new Map<number, Line<Request>>();
  #pushed = 0;
  #overtaken = 0;
  #close: ThreadCall<Request> | undefined;

  push(call: ThreadCall<Request>): void {
    if ("close" in call) {
      this.#close = call;
      return;
    }
    let line = this.#lanes.get(call.lane);
    if (line === undefined) this.#lanes.set(call.lane, (line = { calls: [], first: 0 }));
    line.calls.push({ call, number: this.#pushed++ });
  }

  next(): ThreadCall<Request> | undefined {
    const lanes = [...this.#lanes.keys()];
    if (lanes.length === 0) return this.#close;
    const urgent = Math.min(...lanes);
    const oldest = lanes.reduce((a, b) => (this.#numberOf(b) < this.#numberOf(a) ? b : a));
    const lane = this.#overtaken >= OTHERS_TURN ? oldest : urgent;
    this.#overtaken = lane === oldest ? 0 : this.#overtaken + 1;
    return this.#take(lane);
  }

  #numberOf(lane: number): number {
    const { calls, first } = this.#lanes.get(lane)!;
    return calls[first]!.number;
  }

  #take(lane: number): ThreadCall<Request> {
    const line = this.#lanes.get(lane)!;
    const { call } = line.calls[line.first]!;
    // It holds its texts.
    line.calls[line.first++] = undefined;
    if (line.first === line.calls.length) this.#lanes.delete(lane);
    else if (line.first >= 1_000) {
      // Taken off one by one, each would move all that are behind it.
      line.calls.splice(0, line.first);
      line.first = 0;
    }
    return call;
  }
}

interface Line<Request> {
  readonly calls: ({ readonly call: ThreadCall<Request>; readonly number: number } | undefined)[];
  /** Where the line begins: what is before it has been taken. */
  first: number;
}
