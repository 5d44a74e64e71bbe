const shared = new WeakMap<AbortSignal, Listeners>();

/**
 * Listens for a signal's abort beside any number of others. They share one listener of the signal: Node warns of more
 * than ten of its own, and takes long to find one of thousands. The last one to go takes it along, for Node keeps a
 * composite signal in memory for as long as it has a listener.
 *
 * @returns what ends the listening.
 */
export function onAbort(signal: AbortSignal, tell: () => void): () => void {
  let listeners = shared.get(signal);
  if (listeners === undefined) shared.set(signal, (listeners = new Listeners(signal)));
  return listeners.add(tell);
}

interface Listener {
  readonly tell: () => void;
  /** In the list; -1 once it has gone. */
  place: number;
}

/**
 * A list, in no order, and not a `Set`, which thousands a second that come and go would have laid out anew all the time.
 * In V8 each table that a Set or Map has outgrown points to the next: one that is garbage, but has reached the old
 * generation, keeps all that follow and whatever stood in them, until the old generation is collected.
 */
class Listeners {
  readonly #signal: AbortSignal;
  readonly #all: Listener[] = [];
  readonly #tellAll = (): void => {
    // Who is told mostly goes, and another comes in its place.
    for (const listener of this.#all.slice()) if (listener.place >= 0) listener.tell();
  };

  constructor(signal: AbortSignal) {
    this.#signal = signal;
    signal.addEventListener("abort", this.#tellAll, { once: true });
  }

  add(tell: () => void): () => void {
    const listener: Listener = { tell, place: this.#all.length };
    this.#all.push(listener);
    return () => this.#remove(listener);
  }

  #remove(listener: Listener): void {
    if (listener.place < 0) return;
    const last = this.#all.pop()!;
    if (last !== listener) {
      this.#all[listener.place] = last;
      last.place = listener.place;
    }
    listener.place = -1;
    if (this.#all.length > 0) return;
    this.#signal.removeEventListener("abort", this.#tellAll);
    shared.delete(this.#signal);
  }
}
