/**
 * Things under way, each under a number until it is taken out; numbers are used again.
 *
 * Not a Map: thousands a second would have it laid out anew all the time, and in V8 each table that a Map has outgrown
 * points to the next. One that is garbage, but has reached the old generation, keeps all that follow and what stood in them.
 */
export class Slots<Item> {
  readonly #items: (Item | undefined)[] = [];
  readonly #free: number[] = [];

  get size(): number {
    return this.#items.length - this.#free.length;
  }

  put(item: Item): number {
    const slot = this.#free.pop() ?? this.#items.length;
    this.#items[slot] = item;
    return slot;
  }

  /** Undefined if nothing is there. */
  take(slot: number): Item | undefined {
    const item = this.#items[slot];
    if (item === undefined) return undefined;
    this.#items[slot] = undefined;
    this.#free.push(slot);
    return item;
  }

  takeAll(): Item[] {
    const items: Item[] = [];
    for (const slot of this.#items.keys()) {
      const item = this.take(slot);
      if (item !== undefined) items.push(item);
    }
    return items;
  }
}
