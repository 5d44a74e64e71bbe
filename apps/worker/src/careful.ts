import {
  CoreError,
  documentDigests,
  fuse,
  readTexts,
  type LengthPolicy,
  type Reranker,
  type ScoredDocument,
  type ScoredRequest,
  type SerializedTexts,
  type SubmitOptions,
  type Texts,
} from "@rankfleet/core";
import { writeTo, type Write, type WriteCommand } from "@rankfleet/queue";
import { RankfleetError, type Keys } from "@rankfleet/queue/contract";
import type { Redis } from "ioredis";
import type { Solitude } from "./solitude.ts";

/**
 * Scores jobs whose workers have died, so that a pair that kills is told from its neighbours.
 *
 * A dead process cannot say which pair killed it, so each step is written down before it is taken: first
 * `trying` a run of a few documents, then what became of them. After the next death the worker that takes the
 * job finds the run, and tries its documents one by one; after one more death it finds a single document, and
 * fails it. So a pair costs three workers, no other pair is failed for it, and what was scored stays. While
 * a run is tried nothing else is scored in the process, so the killer is among its documents.
 *
 * In Redis it is a hash: `revision` → that of the model that scored, `trying` → `<from>-<to>-<deaths of these>`,
 * `reading` → how often reading the texts was begun, `<index>` → what became of the document.
 */
export class CarefulScoring {
  readonly #redis: Redis;
  readonly #write: Write;
  readonly #keys: Keys;
  readonly #model: string;
  readonly #reranker: Reranker;
  readonly #solitude: Solitude;

  constructor(options: {
    redis: Redis;
    keys: Keys;
    model: string;
    reranker: Reranker;
    solitude: Solitude;
  }) {
    this.#solitude = options.solitude;
    this.#redis = options.redis;
    this.#write = writeTo(options.redis);
    this.#keys = options.keys;
    this.#model = options.model;
    this.#reranker = options.reranker;
  }

  /** @throws RankfleetError `worker_killed` if reading the job's texts is what kills. */
  async score(
    jobId: string,
    request: {
      readonly texts: SerializedTexts;
      readonly policy: LengthPolicy;
      readonly returnTexts: boolean;
      readonly firstStageScores: readonly number[] | undefined;
    },
    options: SubmitOptions,
  ): Promise<ScoredRequest> {
    const start = performance.now();
    const key = this.#keys.model(this.#model).suspects(jobId);
    const { revision } = this.#reranker.facts;
    const before = await this.#redis.hget(key, "revision");
    // Another revision's scores and deaths say nothing of this one.
    if (before !== null && before !== revision) await this.#redis.del(key);
    const texts = await this.#solitude.alone(() => this.#read(key, request.texts));
    const { policy, firstStageScores } = request;
    const known = await this.#redis.hgetall(key);
    const count = texts.documents.length;
    const done = Array.from({ length: count }, (_, index) => outcomeOf(known[index]));
    const suspects = runOf(known["trying"], count);
    if (suspects !== undefined && suspects.to - suspects.from === 1 && suspects.deaths > 0) {
      done[suspects.from] = await this.#convict(key, suspects.from);
    }
    for (const run of runsOf(done, suspects)) {
      const scored = await this.#solitude.alone(() =>
        this.#try(key, run, { texts, ...policy }, options),
      );
      for (const [i, outcome] of scored.entries()) done[run.from + i] = outcome;
    }
    const documents = done.map((outcome) => outcome!.document);
    const weight = this.#reranker.facts.firstStageWeight;
    const logits = documents.map((document) =>
      document.state === "scored" ? document.logit : null,
    );
    return {
      documents,
      digests: documentDigests(texts, policy),
      ...(request.returnTexts ? { texts } : {}),
      ...(firstStageScores === undefined || weight === undefined
        ? {}
        : { fused: fuse(logits, firstStageScores, weight) }),
      pairs: done.reduce((sum, outcome) => sum + outcome!.pairs, 0),
      cached: 0,
      timings: { waitToTokenizeMs: 0, tokenizeMs: 0, scoreMs: performance.now() - start },
    };
  }

  /** The job has ended. */
  async forget(jobId: string): Promise<void> {
    await this.#redis.del(this.#keys.model(this.#model).suspects(jobId));
  }

  /** Each time anew: an attempt that is no longer the job's may write after the other has ended it and forgotten all this. */
  async #keep(key: string, ...commands: readonly WriteCommand[]): Promise<void> {
    await this.#write(key, ...commands, ["pexpire", KEPT_MS]);
  }

  async #read(key: string, source: SerializedTexts): Promise<Texts> {
    const { revision } = this.#reranker.facts;
    await this.#keep(key, ["hset", "revision", revision]);
    const begun = await this.#write(key, ["hincrby", "reading", 1]);
    if (Number(begun) > 2) {
      throw new RankfleetError(
        "worker_killed",
        "two workers died while they read this job's texts alone",
        { field: "documents" },
      );
    }
    try {
      return readTexts(source);
    } finally {
      await this.#keep(key, ["hset", "reading", 0]);
    }
  }

  async #convict(key: string, index: number): Promise<Outcome> {
    const message = "two workers died while they tried this document, the second time by itself";
    const outcome: Outcome = {
      document: { state: "failed", failure: { code: "process_killed", message } },
      pairs: 0,
    };
    await this.#keep(key, ["hset", index, JSON.stringify(outcome)], ["hdel", "trying"]);
    return outcome;
  }

  async #try(
    key: string,
    { from, to, deaths }: Run,
    { texts, ...policy }: LengthPolicy & { readonly texts: Texts },
    options: SubmitOptions,
  ): Promise<Outcome[]> {
    options.signal?.throwIfAborted();
    await this.#keep(key, ["hset", "trying", `${from}-${to}-${deaths}`]);
    try {
      const documents = texts.documents.slice(from, to);
      const scored = await this.#reranker.score(
        { texts: { query: texts.query, documents }, ...policy },
        options,
      );
      // Of split documents, which have several pairs each, core tells only the sum.
      const outcomes = scored.documents.map((document, i) => ({
        document,
        pairs: i === 0 ? scored.pairs - (scored.documents.length - 1) : 1,
      }));
      const fields = outcomes.flatMap((outcome, i) => [from + i, JSON.stringify(outcome)]);
      await this.#keep(key, ["hset", ...fields], ["hdel", "trying"]);
      return outcomes;
    } catch (error) {
      // A thread that died takes the process with it: these stay suspects.
      if (!(CoreError.isInstance(error) && error.code === "engine_crashed")) {
        await this.#redis.hdel(key, "trying");
      }
      throw error;
    }
  }
}

/** What became of a document, as it is kept. */
interface Outcome {
  readonly document: ScoredDocument;
  readonly pairs: number;
}

interface Run {
  readonly from: number;
  readonly to: number;
  /** How many workers have died while they tried a run that held these. */
  readonly deaths: number;
}

/** Few, so that trying them one by one takes little; many, so that a large job does not take for ever. */
const RUN_DOCUMENTS = 16;
const KEPT_MS = 24 * 3600 * 1000;

function outcomeOf(json: string | undefined): Outcome | undefined {
  return json === undefined ? undefined : (JSON.parse(json) as Outcome);
}

function runOf(value: string | undefined, count: number): Run | undefined {
  const [from = Number.NaN, to = Number.NaN, deaths = 0] = (value ?? "").split("-").map(Number);
  const isRun = Number.isInteger(from) && Number.isInteger(to) && from < to && to <= count;
  return isRun ? { from, to, deaths } : undefined;
}

/** What is left to do: the suspects one by one, and runs of the others. */
function runsOf(done: readonly (Outcome | undefined)[], suspects: Run | undefined): Run[] {
  const runs: Run[] = [];
  const isSuspect = (index: number): boolean =>
    suspects !== undefined && index >= suspects.from && index < suspects.to;
  for (let from = 0; from < done.length;) {
    if (done[from] !== undefined) {
      from++;
      continue;
    }
    let to = from + 1;
    if (!isSuspect(from)) {
      while (
        to < done.length &&
        done[to] === undefined &&
        !isSuspect(to) &&
        to - from < RUN_DOCUMENTS
      )
        to++;
    }
    runs.push({ from, to, deaths: isSuspect(from) ? suspects!.deaths + 1 : 0 });
    from = to;
  }
  // Suspects last: what else the job has is safe by then.
  return runs.toSorted((a, b) => Number(isSuspect(a.from)) - Number(isSuspect(b.from)));
}
