/** Places by their deadlines, the nearest first. Two columns of a binary heap. */
export class DeadlineHeap {
  readonly #deadlines: number[] = [];
  readonly #places: number[] = [];

  get size(): number {
    return this.#places.length;
  }

  /** The nearest; Infinity if there is none. */
  get deadline(): number {
    return this.#deadlines[0] ?? Infinity;
  }

  /** Whose it is; Infinity if there is none. */
  get place(): number {
    return this.#places[0] ?? Infinity;
  }

  push(deadline: number, place: number): void {
    let at = this.size;
    while (at > 0) {
      const above = (at - 1) >> 1;
      if (this.#deadlines[above]! <= deadline) break;
      this.#put(at, this.#deadlines[above]!, this.#places[above]!);
      at = above;
    }
    this.#put(at, deadline, place);
  }

  /** Removes the nearest. */
  pop(): void {
    const deadline = this.#deadlines.pop();
    const place = this.#places.pop();
    const { size } = this;
    if (size === 0) return;
    let at = 0;
    for (;;) {
      let below = 2 * at + 1;
      if (below + 1 < size && this.#deadlines[below + 1]! < this.#deadlines[below]!) below++;
      if (below >= size || this.#deadlines[below]! >= deadline!) break;
      this.#put(at, this.#deadlines[below]!, this.#places[below]!);
      at = below;
    }
    this.#put(at, deadline!, place!);
  }

  #put(at: number, deadline: number, place: number): void {
    this.#deadlines[at] = deadline;
    this.#places[at] = place;
  }
}
