import type { Redis } from "ioredis";
import type { Keys } from "./contract/index.ts";
import type { Lease } from "./result-store.ts";
import { leasedWriteTo, type LeasedWrite, type WriteCommand } from "./write.ts";

/**
 * What is written down of a job that is scored with care, by the attempt that holds its lease.
 *
 * In Redis it is a hash: `revision` → that of the model that scored, `<index>` → what became of the document, and
 * `tries:<token>` → what that attempt has in hand, `<from>-<to>` or `texts`. A mark goes when its attempt has done with
 * it, whatever came of that, and also if the lease was lost meanwhile. So one that stays is of an attempt that died, or is
 * cut off from Redis.
 *
 * @typeParam Outcome What became of a document, as it is kept in JSON.
 */
export class CareNotes<Outcome> {
  readonly #redis: Redis;
  readonly #write: LeasedWrite;
  readonly #key: string;
  readonly #lease: { readonly lock: string; readonly token: string };

  constructor(
    { redis, keys, model }: { redis: Redis; keys: Keys; model: string },
    { jobId, queue, token }: Attempt,
  ) {
    this.#redis = redis;
    this.#write = leasedWriteTo(redis);
    this.#key = keys.model(model).suspects(jobId);
    this.#lease = { lock: keys.model(model).lock(queue, jobId), token };
  }

  /**
   * What earlier attempts of this model revision have left. Another revision's scores and deaths say nothing of this one.
   *
   * @throws LeaseLost
   */
  async read(revision: string): Promise<KnownOfJob<Outcome>> {
    const fields = await this.#redis.hgetall(this.#key);
    if (fields["revision"] !== revision) {
      await this.#keep(["del"], ["hset", "revision", revision]);
      return { outcomes: new Map(), left: [], deathsAtTexts: 0 };
    }
    const marks = Object.entries(fields).filter(([field]) => field.startsWith(TRIES));
    const outcomes = Object.entries(fields).filter(([field]) => /^\d+$/u.test(field));
    return {
      outcomes: new Map(
        outcomes.map(([index, json]) => [Number(index), JSON.parse(json) as Outcome]),
      ),
      left: marks.flatMap(([, mark]) => {
        const [, from, to] = /^(\d+)-(\d+)$/u.exec(mark) ?? [];
        return to === undefined ? [] : [{ from: Number(from), to: Number(to) }];
      }),
      deathsAtTexts: marks.filter(([, mark]) => mark === "texts").length,
    };
  }

  /**
   * Takes a step that may kill the process: it is written down before, and no more once it has ended.
   *
   * @param isDying Whether the process is about to end for what the step threw: then the mark stays.
   * @throws LeaseLost before the step; what the step throws.
   */
  async tries<Result>(
    step: DocumentRun | "texts",
    take: () => Result | Promise<Result>,
    isDying: (error: unknown) => boolean = () => false,
  ): Promise<Result> {
    const field = `${TRIES}${this.#lease.token}`;
    await this.#keep(["hset", field, step === "texts" ? step : `${step.from}-${step.to}`]);
    let mustStay = false;
    try {
      return await take();
    } catch (error) {
      mustStay = isDying(error);
      throw error;
    } finally {
      if (!mustStay) await this.#redis.hdel(this.#key, field);
    }
  }

  /** @throws LeaseLost */
  async keep(from: number, outcomes: readonly Outcome[]): Promise<void> {
    const fields = outcomes.flatMap((outcome, i) => [from + i, JSON.stringify(outcome)]);
    await this.#keep(["hset", ...fields]);
  }

  /** The job has ended. If the lease is lost, whoever has it now does this. */
  async forget(): Promise<void> {
    await this.#write(this.#lease, this.#key, ["del"]);
  }

  async #keep(...commands: readonly WriteCommand[]): Promise<void> {
    const isOurs = await this.#write(this.#lease, this.#key, ...commands, ["pexpire", KEPT_MS]);
    if (!isOurs) throw new LeaseLost();
  }
}

/** Another attempt may have the job by now, and what this one has found is of no use. */
export class LeaseLost extends Error {
  override readonly name = "LeaseLost";
}

/** An attempt at a job, and what proves that it holds the lease. */
export interface Attempt extends Lease {
  readonly jobId: string;
}

export interface KnownOfJob<Outcome> {
  /** By the document's index. */
  readonly outcomes: ReadonlyMap<number, Outcome>;
  /** Runs that attempts were trying when they died, one for each. */
  readonly left: readonly DocumentRun[];
  /** How many attempts died while they read the job's texts. */
  readonly deathsAtTexts: number;
}

/** Documents that are tried together. */
export interface DocumentRun {
  readonly from: number;
  readonly to: number;
}

const TRIES = "tries:";
const KEPT_MS = 24 * 3600 * 1000;
