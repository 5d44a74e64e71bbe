import { DeadlineHeap } from "./deadline-heap.ts";

/** What a line asks of those that wait in it. */
export interface InLine {
  readonly deadline?: number | undefined;
  isAbandoned(): boolean;
}

/**
 * The waiting pairs of one length: first come, first out, unless a deadline presses.
 *
 * Two columns rather than an object for each pair: there are hundreds of thousands a second. A pair that is taken leaves a
 * hole. Those in front are removed once they are half of the line, so that the others seldom have to move up.
 */
export class Line<P extends InLine> {
  #pairs: (P | undefined)[] = [];
  #since: number[] = [];
  /** Where the first pair stands. */
  #first = 0;
  /** Places are counted from the first pair of all; so many have gone from the columns. */
  #gone = 0;
  #size = 0;
  /** Of pairs with a deadline; those that went in their turn may still stand in it. */
  #byDeadline = new DeadlineHeap();

  get size(): number {
    return this.#size;
  }

  /** The `since` of the first pair; only of a line that is not empty. */
  get oldestSince(): number {
    return this.#since[this.#first]!;
  }

  /** Infinity if nobody has one. */
  get nearestDeadline(): number {
    while (this.#byDeadline.place < this.#gone + this.#first) this.#byDeadline.pop();
    return this.#byDeadline.deadline;
  }

  add(pair: P, since: number): void {
    this.#pairs.push(pair);
    this.#since.push(since);
    this.#size++;
    if (pair.deadline === undefined) return;
    // Those that have gone with far deadlines would never come to the top, where they are noticed.
    if (this.#byDeadline.size >= 2 * this.#size + 16) this.#sortAgain();
    else this.#byDeadline.push(pair.deadline, this.#gone + this.#pairs.length - 1);
  }

  /** Moves `rows` pairs to the batch: those with a deadline not after `until`, the nearest first, then the oldest. */
  moveTo(batch: P[], rows: number, until: number): void {
    let left = rows;
    for (; left > 0 && this.nearestDeadline <= until; left--) {
      const at = this.#byDeadline.place - this.#gone;
      this.#byDeadline.pop();
      batch.push(this.#pairs[at]!);
      this.#pairs[at] = undefined;
    }
    for (; left > 0; this.#first++) {
      const pair = this.#pairs[this.#first];
      if (pair === undefined) continue;
      batch.push(pair);
      this.#pairs[this.#first] = undefined;
      left--;
    }
    while (this.#first < this.#pairs.length && this.#pairs[this.#first] === undefined)
      this.#first++;
    if (2 * this.#first >= this.#pairs.length) this.#closeUp();
    this.#size -= rows;
  }

  #closeUp(): void {
    this.#pairs.splice(0, this.#first);
    this.#since.splice(0, this.#first);
    this.#gone += this.#first;
    this.#first = 0;
  }

  /** Removes and returns those that nobody wants any more. */
  dropAbandoned(): P[] {
    const dropped: P[] = [];
    const kept: P[] = [];
    const since: number[] = [];
    for (const [at, pair] of this.#pairs.entries()) {
      if (pair?.isAbandoned() === true) dropped.push(pair);
      else if (pair !== undefined) {
        kept.push(pair);
        since.push(this.#since[at]!);
      }
    }
    if (dropped.length === 0) return dropped;
    this.#pairs = kept;
    this.#since = since;
    this.#first = 0;
    this.#size = kept.length;
    this.#sortAgain();
    return dropped;
  }

  #sortAgain(): void {
    this.#byDeadline = new DeadlineHeap();
    for (const [at, pair] of this.#pairs.entries()) {
      if (pair?.deadline !== undefined) this.#byDeadline.push(pair.deadline, this.#gone + at);
    }
  }
}
