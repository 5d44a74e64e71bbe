import type { Redis } from "ioredis";
import type { JobEnvelope, Keys } from "./contract/index.ts";
import { ModelRegistry } from "./registry.ts";

/**
 * Tells one live worker of a job while the job is on its way into an idle queue, so that it is being scored when its turn
 * comes: preparing it for BullMQ, taking it and leasing it take some two milliseconds.
 *
 * A courtesy, like all news: a worker that is busy, or never hears of it, does nothing, and the job is scored when the
 * queue hands it out. Whoever hands it out, the first record stands (`ResultStore.settleAhead`).
 */
export class HeadStart {
  readonly #redis: Redis;
  readonly #keys: Keys;
  readonly #registry: ModelRegistry;
  /** Live workers by model, as of lately. */
  readonly #workers = new Map<
    string,
    { readonly ids: readonly string[]; readonly until: number }
  >();

  constructor(redis: Redis, keys: Keys) {
    this.#redis = redis;
    this.#keys = keys;
    this.#registry = new ModelRegistry(redis, keys);
  }

  /** Whether a worker was told; the news is under way then. Never rejects. */
  async give(jobId: string, job: JobEnvelope): Promise<boolean> {
    const workers = this.#liveWorkers(job.model);
    const worker = workers[Math.floor(Math.random() * workers.length)];
    if (worker === undefined) return false;
    const news = `${job.model} ${jobId} ${JSON.stringify(job)}`;
    this.#redis.publish(this.#keys.ahead(worker), news).catch(() => {});
    // Without this it would leave with the job itself, which takes most of a millisecond to prepare.
    await new Promise((resolve) => setImmediate(resolve));
    return true;
  }

  /** Nobody waits for the list: what is told too few, or to the dead, is told in vain. */
  #liveWorkers(model: string): readonly string[] {
    const known = this.#workers.get(model);
    if (known !== undefined && Date.now() < known.until) return known.ids;
    const until = Date.now() + WORKERS_CACHE_MS;
    this.#workers.set(model, { ids: known?.ids ?? [], until });
    this.#registry.liveWorkerIds(model).then(
      (ids) => this.#workers.set(model, { ids, until }),
      () => {},
    );
    return known?.ids ?? [];
  }
}

const WORKERS_CACHE_MS = 2_000;

/** What {@link HeadStart.give} publishes; undefined if it is something else, for anybody may have sent it. */
export function readHeadStart(
  news: string,
): { readonly model: string; readonly jobId: string; readonly data: unknown } | undefined {
  const [model = "", jobId = ""] = news.split(" ", 2);
  try {
    const data = JSON.parse(news.slice(model.length + jobId.length + 2)) as unknown;
    return { model, jobId, data };
  } catch {
    return undefined;
  }
}
