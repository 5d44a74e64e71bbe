const listeners = new WeakMap<AbortSignal, Set<() => void>>();

/**
 * Listens for a signal's abort beside any number of others. They share one listener of the signal: Node warns of more
 * than ten of its own, and takes long to find one of thousands.
 *
 * @returns what ends the listening.
 */
export function onAbort(signal: AbortSignal, listener: () => void): () => void {
  const all = listeners.get(signal) ?? listenTo(signal);
  all.add(listener);
  return () => void all.delete(listener);
}

function listenTo(signal: AbortSignal): Set<() => void> {
  const all = new Set<() => void>();
  listeners.set(signal, all);
  signal.addEventListener("abort", () => [...all].forEach((listener) => listener()), {
    once: true,
  });
  return all;
}
