import { setMaxListeners } from "node:events";
import { setImmediate as turn, setTimeout as sleep } from "node:timers/promises";
import { InvalidRequestError, type RerankRequest } from "@rankfleet/queue/contract";
import type { RerankManyOptions } from "./options.ts";
import type { RerankResult } from "./result.ts";

/** One request's end, with its place among the requests. */
export type RerankOutcome =
  | {
      readonly index: number;
      readonly request: RerankRequest;
      readonly result: RerankResult;
      readonly error?: undefined;
    }
  | {
      readonly index: number;
      readonly request: RerankRequest;
      readonly error: Error;
      readonly result?: undefined;
    };

type Rerank = (request: RerankRequest, signal: AbortSignal) => Promise<RerankResult>;

/**
 * Runs requests with a bound on what is under way, counted until the caller has taken the outcome.
 * Reading the source and waiting for results go on side by side: a slow source delays no result.
 */
export async function* streamRequests(
  rerank: Rerank,
  requests: Iterable<RerankRequest> | AsyncIterable<RerankRequest>,
  options: RerankManyOptions,
): AsyncGenerator<RerankOutcome, void, void> {
  if (!isIterable(requests)) {
    const message = "must be an iterable, or an async one, of requests";
    throw new InvalidRequestError([{ field: "requests", message }]);
  }
  const abort = new AbortController();
  const signal =
    options.signal === undefined ? abort.signal : AbortSignal.any([abort.signal, options.signal]);
  // Thousands of waits listen to it at once, and that is no leak.
  setMaxListeners(0, signal);
  const source =
    Symbol.asyncIterator in requests
      ? requests[Symbol.asyncIterator]()
      : requests[Symbol.iterator]();
  const window = new Window(options);
  // A promise that lives as long as the stream would keep a reaction of every race below, so an abort wakes the window.
  signal.addEventListener("abort", () => window.wake(), { once: true });
  let index = 0;
  let reading: Promise<undefined> | undefined;
  let isExhausted = false;
  let sourceError: { readonly cause: unknown } | undefined;
  let turnAt = performance.now();

  const read = async (): Promise<void> => {
    try {
      // A source that has everything at hand would else keep the first request from leaving until the last one
      // is read. And the first ones leave one by one, for a fleet that is idle begins with what it gets.
      if (index <= LEAVE_ALONE || performance.now() - turnAt > LONGEST_TURN_MS) {
        await turn();
        turnAt = performance.now();
      }
      const next = await source.next();
      if (next.done) isExhausted = true;
      else window.start(index++, next.value, (request) => rerank(request, signal));
    } catch (cause) {
      // What is under way is still delivered; then the source's own error ends the stream.
      sourceError = { cause };
      isExhausted = true;
    }
  };

  try {
    for (;;) {
      for (const outcome of window.takeReady()) {
        // What the caller has broken off did not fail: it has no outcome.
        if (outcome.error !== undefined) options.signal?.throwIfAborted();
        yield outcome;
      }
      options.signal?.throwIfAborted();
      if (isExhausted && window.isEmpty) break;
      if (!isExhausted && reading === undefined && window.hasRoom) {
        reading = read().then(() => (reading = undefined));
      }
      await Promise.race([window.settled(), ...(reading === undefined ? [] : [reading])]);
    }
    if (sourceError !== undefined) throw sourceError.cause;
  } finally {
    abort.abort(new Error("the stream was left"));
    // What is under way cancels its jobs, for which it needs the client. With Redis away that would take long.
    await Promise.race([window.emptied(), sleep(LONGEST_FAREWELL_MS, undefined, { ref: false })]);
    const left = Promise.resolve(source.return?.());
    // A generator that waits for its own input returns only after that.
    if (reading === undefined) await left;
    else left.catch(() => {});
  }
}

function isIterable(value: unknown): boolean {
  return (
    typeof value === "object" &&
    value !== null &&
    (Symbol.iterator in value || Symbol.asyncIterator in value)
  );
}

const LONGEST_FAREWELL_MS = 2_000;

/** Reading goes on for so long before what was read is sent. */
const LONGEST_TURN_MS = 3;
/** About as many as a worker has in hand. */
const LEAVE_ALONE = 16;

/** What is under way or done and not yet taken. */
class Window {
  readonly #isOrdered: boolean;
  readonly #maxPairs: number;
  readonly #maxCharacters: number;
  /** To be taken, one after the other. */
  readonly #ready: Ready[] = [];
  /** In order: those whose turn has not come, by index. No Map, which would keep them for long: see `onAbort`. */
  readonly #early: Record<number, Ready> = {};
  #nextIndex = 0;
  #underWay = 0;
  #pairs = 0;
  #characters = 0;
  #resolve: () => void = () => {};
  #settled: Promise<void> | undefined;

  constructor(options: RerankManyOptions) {
    this.#isOrdered = options.isOrdered ?? false;
    this.#maxPairs = options.maxPairsInFlight ?? 10_000;
    this.#maxCharacters = options.maxCharactersInFlight ?? 32 * 1024 * 1024;
  }

  get isEmpty(): boolean {
    return this.#underWay === 0 && this.#ready.length === 0;
  }

  /** A single request of any size always has room. */
  get hasRoom(): boolean {
    return this.isEmpty || (this.#pairs < this.#maxPairs && this.#characters < this.#maxCharacters);
  }

  start(
    index: number,
    request: RerankRequest,
    run: (request: RerankRequest) => Promise<RerankResult>,
  ): void {
    this.#underWay++;
    const size = sizeOf(request);
    this.#count(size, 1);
    const end = (outcome: RerankOutcome): void => {
      this.#underWay--;
      this.#arrive({ outcome, size });
      this.wake();
    };
    run(request).then(
      (result) => end({ index, request, result }),
      (error: unknown) =>
        end({ index, request, error: error instanceof Error ? error : new Error(String(error)) }),
    );
  }

  /** Resolves when something more is ready, or {@link wake} is called. */
  settled(): Promise<void> {
    this.#settled ??= new Promise((resolve) => (this.#resolve = resolve));
    return this.#settled;
  }

  wake(): void {
    this.#resolve();
    this.#settled = undefined;
  }

  /** Resolves once nothing is under way. */
  async emptied(): Promise<void> {
    while (this.#underWay > 0) await this.settled();
  }

  *takeReady(): Generator<RerankOutcome> {
    for (let ready = this.#ready.shift(); ready !== undefined; ready = this.#ready.shift()) {
      this.#count(ready.size, -1);
      yield ready.outcome;
    }
  }

  #arrive(ready: Ready): void {
    const { index } = ready.outcome;
    if (this.#isOrdered && index > this.#nextIndex) {
      this.#early[index] = ready;
      return;
    }
    this.#ready.push(ready);
    for (let next = this.#early[++this.#nextIndex]; next; next = this.#early[++this.#nextIndex]) {
      delete this.#early[this.#nextIndex];
      this.#ready.push(next);
    }
  }

  #count({ pairs, characters }: Size, sign: 1 | -1): void {
    this.#pairs += sign * pairs;
    this.#characters += sign * characters;
  }
}

interface Ready {
  readonly outcome: RerankOutcome;
  readonly size: Size;
}

interface Size {
  readonly pairs: number;
  readonly characters: number;
}

/** Also of what is no request at all, which only `rerank` refuses. */
function sizeOf(request: RerankRequest): Size {
  const documents: readonly unknown[] = Array.isArray(request?.documents) ? request.documents : [];
  const fields = Array.isArray(request?.fields) ? request.fields : ["text"];
  let characters = lengthOf(request?.query);
  for (const document of documents) {
    if (typeof document === "string") characters += document.length;
    else if (typeof document === "object" && document !== null) {
      for (const field of fields)
        characters += lengthOf((document as Record<string, unknown>)[field]);
    }
  }
  return { pairs: Math.max(1, documents.length), characters };
}

function lengthOf(text: unknown): number {
  return typeof text === "string" ? text.length : 0;
}
