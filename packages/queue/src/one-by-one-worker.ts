import {
  Worker,
  type Job,
  type Processor,
  type RedisQueueBackend,
  type WorkerOptions,
} from "bullmq";
import { AskAhead } from "./ask-ahead.ts";

/**
 * A BullMQ worker that has a lone job as soon as it comes, begins each job at once, and lets a lone one begin in peace.
 *
 * BullMQ's loop, where nothing is in hand, fetches until it has as many jobs as may be, or hears that there are no more,
 * before it begins the first of them. With a lone job it then asks up to four more times, which keeps Redis
 * and this thread busy while that job is tokenised.
 */
export class OneByOneWorker extends Worker {
  /** The lock tokens of the jobs in hand. */
  readonly #inHand = new Set<string>();
  #hasOneToBegin = false;
  #peace: Promise<void> | undefined;
  #endPeace = (): void => {};
  readonly #askAhead = new AskAhead(this);

  constructor(queue: string, process: Processor, options: WorkerOptions) {
    super(queue, process, options);
    compareAsNumber(this.backend);
  }

  protected override async moveToActive(token: string, name?: string): Promise<Job> {
    // In place of one that was put off: this is no call of the loop's.
    if (this.#inHand.has(token)) return super.moveToActive(token, name);
    if (this.#hasOneToBegin) {
      // Hearing that there are no more, the loop begins what it has; then it asks again.
      this.#hasOneToBegin = false;
      return NO_JOB;
    }
    const { token: ahead } = this.#askAhead;
    // This worker's by now, also if it is closing.
    if (ahead === undefined) {
      await this.#peace;
      if (this.closing !== undefined) return NO_JOB;
    }
    const job = await super.moveToActive(ahead ?? token, name);
    if (job === NO_JOB) return NO_JOB;
    this.#hasOneToBegin = true;
    if (this.#inHand.size === 0) this.#beginPeace();
    return job;
  }

  #beginPeace(): void {
    this.#peace = new Promise((resolve) => {
      const timer = setTimeout(resolve, PEACE_MS);
      this.#endPeace = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }

  override async processJob(...job: Parameters<Worker["processJob"]>): Promise<void | Job> {
    const [taken, token] = job;
    this.#hasOneToBegin = false;
    this.#inHand.add(token);
    try {
      return await super.processJob(...job);
    } finally {
      this.#inHand.delete(token);
      this.#endPeace();
      // BullMQ's line of jobs is a chain, of which one that is garbage and old keeps all that follow: here with their texts.
      taken.data = undefined;
    }
  }
}

/**
 * BullMQ asks whether what it hears when a job is done is less than 0, which would be an error's number. Mostly it is the
 * next job, of which JavaScript then makes a string, texts and all, and of that a number.
 */
function compareAsNumber(backend: RedisQueueBackend): void {
  const execCommand = backend.execCommand.bind(backend);
  backend.execCommand = (client, command, args): unknown => {
    const reply: unknown = execCommand(client, command, args);
    return command === "moveToFinished" ? (reply as Promise<unknown>).then(withValue) : reply;
  };
}

function withValue(reply: unknown): unknown {
  return Array.isArray(reply) ? Object.assign(reply, { valueOf: () => reply.length }) : reply;
}

/** BullMQ's type leaves out that there may be none. */
const NO_JOB = undefined as unknown as Job;

/** A small job is tokenised in a millisecond; the others of a burst must not wait for long. */
const PEACE_MS = 5;
