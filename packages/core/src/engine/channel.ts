import "../backend/no-telemetry.ts";
import { parentPort, receiveMessageOnPort, Worker, workerData } from "node:worker_threads";
import type { Transferable } from "node:worker_threads";
import {
  CoreError,
  fromFailure,
  toFailure,
  type CoreErrorCode,
  type CoreFailure,
} from "../errors.ts";
import { LAST_URGENT_LANE } from "../batch/pair-queue.ts";
import { Deferred } from "./deferred.ts";
import { Slots } from "./slots.ts";
import { WaitingCalls, type RequestCall, type ThreadCall } from "./waiting-calls.ts";

/**
 * Calls into a worker thread: one request, one reply, any number under way.
 *
 * `session.run()` and tokenising block the thread that they run on, so both live behind a channel. A
 * thread that dies fails what it held with `engine_crashed`, and every later call too.
 */
export class ThreadChannel<Ready, Request, Reply> {
  readonly #worker: Worker;
  readonly #pending = new Slots<{
    resolve: (reply: Reply) => void;
    reject: (error: unknown) => void;
  }>();
  readonly #exited: Promise<void>;
  /** Calls of this turn of the event loop: they travel together, since each message may have to wake the thread. */
  #outbox: Letter<Request>[] = [];
  #death: CoreError | undefined;
  readonly #ready = new Deferred<Ready>();

  /** @param entry Name of the thread's file beside this one, without its ending. */
  constructor(entry: string, data: unknown) {
    this.#worker = new Worker(threadFile(entry), { workerData: data, name: `rankfleet-${entry}` });
    this.#worker.on("message", (message: ThreadMessage<Ready, Reply>) => this.#receive(message));
    this.#worker.on("error", (error) => this.#die(`thread ${entry} failed: ${error.message}`));
    this.#exited = new Promise((resolve) => {
      this.#worker.on("exit", (code) => {
        this.#die(`thread ${entry} ended with code ${code}`);
        resolve();
      });
    });
  }

  /** What the thread says once it can take calls. Rejects if it cannot start. */
  get ready(): Promise<Ready> {
    return this.#ready.promise;
  }

  get isDead(): boolean {
    return this.#death !== undefined;
  }

  get pending(): number {
    return this.#pending.size;
  }

  /** @param lane Of the calls that wait in the thread, the one with the lowest lane is next. */
  call(request: Request, transfer: readonly Transferable[] = [], lane = 1): Promise<Reply> {
    if (this.#death !== undefined) return Promise.reject(this.#death);
    return new Promise((resolve, reject) => {
      const id = this.#pending.put({ resolve, reject });
      if (this.#outbox.length === 0) process.nextTick(() => this.#send());
      this.#outbox.push({ call: { id, request, lane }, transfer });
    });
  }

  /** Lets the thread end what it is doing, free its session, and exit. */
  async close(): Promise<void> {
    this.#send();
    if (this.#death === undefined) this.#worker.postMessage([{ close: true }]);
    await this.#exited;
  }

  #send(): void {
    const outbox = this.#outbox;
    this.#outbox = [];
    if (outbox.length === 0) return;
    try {
      this.#post(outbox);
    } catch {
      // Something in one of them cannot be sent: that is its own failure.
      for (const letter of outbox) this.#sendAlone(letter);
    }
  }

  #sendAlone(letter: Letter<Request>): void {
    try {
      this.#post([letter]);
    } catch (error) {
      this.#pending.take(letter.call.id)?.reject(error);
    }
  }

  #post(letters: readonly Letter<Request>[]): void {
    // Pushed, not mapped: an array that might have holes is cloned element by element.
    const calls: RequestCall<Request>[] = [];
    const transfers: Transferable[] = [];
    for (const { call, transfer } of letters) {
      calls.push(call);
      transfers.push(...transfer);
    }
    this.#worker.postMessage(calls, transfers);
  }

  #receive(message: ThreadMessage<Ready, Reply>): void {
    if ("ready" in message) return this.#ready.resolve(message.ready);
    if ("failedToStart" in message) return this.#ready.reject(fromFailure(message.failedToStart));
    for (const answer of message.answers) {
      const call = this.#pending.take(answer.id);
      if ("failure" in answer) call?.reject(fromFailure(answer.failure));
      else call?.resolve(answer.reply);
    }
  }

  #die(message: string): void {
    if (this.#death !== undefined) return;
    this.#death = new CoreError("engine_crashed", message);
    this.#ready.promise.catch(() => {});
    this.#ready.reject(this.#death);
    for (const call of this.#pending.takeAll()) call.reject(this.#death);
  }
}

interface Letter<Request> {
  readonly call: RequestCall<Request>;
  readonly transfer: readonly Transferable[];
}

type ThreadMessage<Ready, Reply> =
  | { readonly ready: Ready }
  | { readonly failedToStart: CoreFailure }
  | { readonly answers: readonly Answer<Reply>[] };

type Answer<Reply> =
  | { readonly id: number; readonly reply: Reply }
  | { readonly id: number; readonly failure: CoreFailure };

/** What a thread offers to its channel. */
export interface ThreadService<Ready, Request, Reply> {
  readonly ready: Ready;
  answer(request: Request): Promise<{
    reply: Reply;
    transfer: readonly Transferable[];
    /** Whether this one may travel with the answer to the call that is next. Default: it may not. */
    mayWaitFor?: (next: Request) => boolean;
  }>;
  /** For how long, in milliseconds, an answer may wait for others that it travels with. */
  readonly longestHoldMs: number;
  close(): Promise<void>;
  /** The code of an error that `answer` throws without one. */
  readonly fallback: CoreErrorCode;
}

/** The thread's end of the channel: `start` gets the channel's data. */
export async function serveThread<Data, Ready, Request, Reply>(
  start: (data: Data) => Promise<ThreadService<Ready, Request, Reply>>,
): Promise<void> {
  const port = parentPort;
  if (port === null) throw new Error("bug: a thread's entry was run as a program");
  let service: ThreadService<Ready, Request, Reply>;
  try {
    service = await start(workerData as Data);
  } catch (error) {
    port.postMessage({ failedToStart: toFailure(error, "engine_crashed") });
    return;
  }
  // One at a time: a thread computes, so a second call at once would only delay the first.
  const waiting = new WaitingCalls<Request>();
  const receive = (calls: readonly ThreadCall<Request>[]): void => {
    for (const call of calls) waiting.push(call);
  };
  let isBusy = false;
  let answers: Answer<Reply>[] = [];
  let transfers: Transferable[] = [];
  let heldSince = 0;
  // Waking the main thread takes a tenth of a millisecond, during which a device would stand still.
  const send = (): void => {
    port.postMessage({ answers }, transfers);
    [answers, transfers] = [[], []];
  };
  const serve = async (): Promise<void> => {
    isBusy = true;
    for (let call = waiting.next(); call !== undefined;) {
      if ("close" in call) {
        await service.close();
        port.close();
        return;
      }
      let mayWaitFor: ((next: Request) => boolean) | undefined;
      try {
        const { reply, transfer, ...answer } = await service.answer(call.request);
        const now = performance.now();
        if (answers.length === 0) heldSince = now;
        const mayWait = call.lane > LAST_URGENT_LANE && now - heldSince < service.longestHoldMs;
        if (mayWait) mayWaitFor = answer.mayWaitFor;
        answers.push({ id: call.id, reply });
        transfers.push(...transfer);
      } catch (error) {
        answers.push({ id: call.id, failure: toFailure(error, service.fallback) });
      }
      // The thread was blocked meanwhile: see what has come, an urgent call perhaps.
      for (let got = receiveMessageOnPort(port); got; got = receiveMessageOnPort(port)) {
        receive(got.message as readonly ThreadCall<Request>[]);
      }
      call = waiting.next();
      const next = call !== undefined && "request" in call ? call.request : undefined;
      if (next === undefined || mayWaitFor?.(next) !== true) send();
    }
    isBusy = false;
  };
  port.on("message", (calls: readonly ThreadCall<Request>[]) => {
    receive(calls);
    if (!isBusy) void serve();
  });
  port.postMessage({ ready: service.ready });
}

/** Node 20 runs no TypeScript in threads, so a run from source (tests) takes them from the build. */
function threadFile(entry: string): URL {
  const isSource = import.meta.url.endsWith(".ts");
  return new URL(isSource ? `../../dist/engine/${entry}.js` : `./${entry}.js`, import.meta.url);
}
