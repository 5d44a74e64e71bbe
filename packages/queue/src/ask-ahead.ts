import { RedisQueueBackend, type WorkerOptions } from "bullmq";
import type { Redis } from "ioredis";

/**
 * Asks for a job behind the wait for one: on the connection that an idle BullMQ worker blocks, the next command is already
 * there when Redis ends the wait, and both are answered at once. BullMQ asks when it has been woken, which takes Redis and
 * the worker one more turn each, half a millisecond on a small machine.
 *
 * So a job that comes while the whole process sleeps is in its hand: if that has been stopped, or its host is gone without a
 * word, others take the job over as from any worker that holds one (see `LOCK_MS`).
 */
export class AskAhead {
  readonly #backend: RedisQueueBackend;
  readonly #ask: (token: string) => Promise<Reply>;
  readonly #id: string;
  readonly #watched = new WeakSet<BlockingClient>();
  #asked: { readonly token: string; readonly reply: Promise<Reply> } | undefined;
  #count = 0;
  #token: string | undefined;

  /** @param worker.backend Its ways to wait and to ask are replaced. */
  constructor({ backend, name, opts, id }: AskingWorker) {
    this.#backend = backend;
    this.#id = id;
    const toKey = (type: string): string => backend.toKey(type);
    const { blockingConnection, keys } = backend;
    const blocking = new RedisQueueBackend(
      blockingConnection!,
      name,
      keys,
      toKey,
      opts,
      undefined,
      false,
    );
    this.#ask = (token) => blocking.moveToActive(token, opts.name);
    const waitForJob = backend.waitForJob.bind(backend);
    const moveToActive = backend.moveToActive.bind(backend);
    backend.waitForJob = async (timeout) => {
      this.#watch((await backend.blockingClient)!);
      try {
        const marker = await waitForJob(timeout);
        return (await this.#hasCome()) ? { member: marker?.member ?? "", score: 0 } : marker;
      } finally {
        if (this.#token === undefined) this.#giveUp();
      }
    };
    backend.moveToActive = async (token, workerName) => {
      const asked = this.#asked;
      if (asked === undefined || token !== this.#token) return moveToActive(token, workerName);
      this.#asked = this.#token = undefined;
      return asked.reply;
    };
  }

  /** Set if a job has come that was asked for: it is leased under this token, and `moveToActive` with it gives the job. */
  get token(): string | undefined {
    return this.#token;
  }

  /** The wait must be on its way first, which nothing but the command itself tells. */
  #watch(client: BlockingClient): void {
    if (this.#watched.has(client)) return;
    this.#watched.add(client);
    const bzpopmin = client.bzpopmin.bind(client);
    client.bzpopmin = (...wait) => {
      this.#giveUp();
      const marker = bzpopmin(...wait);
      const token = `${this.#id}:ahead:${this.#count++}`;
      const reply = this.#ask(token);
      reply.catch(() => {}); // Then it is asked as BullMQ does.
      this.#asked = { token, reply };
      return marker;
    };
  }

  /** Once the wait is over, in time or not, the answer is next. If there is no job, what BullMQ does by itself is right. */
  async #hasCome(): Promise<boolean> {
    const asked = this.#asked;
    if (asked === undefined) return false;
    const [job] = await inTime(asked.reply);
    if (job) this.#token = asked.token;
    return Boolean(job);
  }

  /**
   * Of a question that nobody waits for any more. On a Cluster one may be sent after all when the node that it was for is
   * back, minutes later: the job that it takes then is anybody's.
   */
  #giveUp(): void {
    const asked = this.#asked;
    this.#asked = this.#token = undefined;
    asked?.reply
      .then(async ([job, jobId]) => {
        if (!job) return;
        const backend = this.#backend;
        await backend.moveJobFromActiveToWait(jobId as string, asked.token);
        // Which tells nobody who sleeps.
        const client = (await backend.client) as unknown as Redis;
        await client.zadd(backend.toKey("marker"), 0, "0");
      })
      .catch(() => {}); // Others take it over when its lease ends.
  }
}

/** @returns nothing if it does not come, or Redis refuses. */
function inTime(reply: Promise<Reply>): Promise<Reply> {
  return new Promise((resolve) => {
    const giveUp = setTimeout(() => resolve([]), ANSWER_MS);
    void reply
      .catch(() => [])
      .then((all) => {
        clearTimeout(giveUp);
        resolve(all);
      });
  });
}

type Reply = Awaited<ReturnType<RedisQueueBackend["moveToActive"]>>;
type BlockingClient = Awaited<NonNullable<RedisQueueBackend["blockingClient"]>>;

/** What is needed of a BullMQ worker. */
export interface AskingWorker {
  readonly backend: RedisQueueBackend;
  readonly name: string;
  readonly opts: WorkerOptions;
  readonly id: string;
}

/** After the wait the answer is there in a moment, unless the connection hung or was closed. */
const ANSWER_MS = 1_000;
