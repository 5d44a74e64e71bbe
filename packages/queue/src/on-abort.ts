const shared = new WeakMap<AbortSignal, Set<() => void>>();

/**
 * Listens for a signal's abort beside any number of others. They share one listener of the signal: Node warns of more
 * than ten of its own, and takes long to find one of thousands. The last one to go takes it along, for Node keeps a
 * composite signal in memory for as long as it has a listener.
 *
 * @returns what ends the listening.
 */
export function onAbort(signal: AbortSignal, listener: () => void): () => void {
  const listeners = shared.get(signal) ?? listenTo(signal);
  listeners.add(listener);
  return () => void listeners.delete(listener);
}

/** What is emptied ends itself. */
class Listeners extends Set<() => void> {
  readonly #signal: AbortSignal;
  readonly #tellAll = (): void => {
    for (const listener of this) listener();
  };

  constructor(signal: AbortSignal) {
    super();
    this.#signal = signal;
    signal.addEventListener("abort", this.#tellAll, { once: true });
  }

  override delete(listener: () => void): boolean {
    const wasThere = super.delete(listener);
    if (wasThere && this.size === 0) {
      this.#signal.removeEventListener("abort", this.#tellAll);
      shared.delete(this.#signal);
    }
    return wasThere;
  }
}

function listenTo(signal: AbortSignal): Listeners {
  const listeners = new Listeners(signal);
  shared.set(signal, listeners);
  return listeners;
}
