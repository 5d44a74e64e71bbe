import { CostModel } from "./batch/cost.ts";
import { defaultBatchTokens, enoughTokens, maxPadding, UNMEASURED } from "./engine/batch-limits.ts";
import { Batcher, type BatchReport } from "./engine/batcher.ts";
import type { Calibration, Probe } from "./engine/calibration.ts";
import type { Device } from "./engine/device.ts";
import type { EncodedRest, Encoder } from "./engine/encoder.ts";
import { openEngine, type EngineOptions } from "./engine/open-engine.ts";
import type { ScoreRequest, Texts } from "./engine/request.ts";
import type { ScoreCache } from "./engine/score-cache.ts";
import type { SubmitOptions } from "./engine/submission.ts";
import { CoreError } from "./errors.ts";
import { openModel } from "./model/families.ts";
import type { ModelFacts } from "./model/family.ts";
import { fuse } from "./model/fusion.ts";
import { openModelFolder } from "./model/folder.ts";
import {
  inOrder,
  logitOf,
  pairsOf,
  toKeep,
  toScored,
  type ScoredDocument,
} from "./scored-documents.ts";

/**
 * Text in, scores out: a model folder opened on this machine's devices.
 *
 * A request goes through three steps, none of them on the caller's thread: a tokenising thread turns
 * it into pairs, the batcher mixes them with the pairs of every other request under way, and an
 * inference thread runs each batch. Call `score` as often as you like without waiting: the more is
 * under way, the better batches fit.
 *
 * ```ts
 * const reranker = await Reranker.load("models/box");
 * const { documents } = await reranker.score({ texts: { query, documents: ["…", "…"] } });
 * await reranker.close();
 * ```
 */
export class Reranker {
  readonly facts: ModelFacts;
  /** What the batches run on: one entry for each inference thread. */
  readonly devices: readonly Device[];
  /** What was measured of the model on these devices; absent if `calibrationFolder` was not given. */
  readonly calibration: Calibration | undefined;
  /** Logits of the calibration pairs, in their order: equal for every worker that serves the same model. */
  readonly reference: readonly number[];
  /** Largest difference that the batch makes to the logit of a calibration pair, measured at load. */
  readonly deviation: number;
  /** Where it comes from: `rounding`, the batch's `shape` (a GPU in fp16), or its other pairs, `company` (dynamic quantisation). */
  readonly deviatesBy: Probe["deviatesBy"];
  readonly #encoder: Encoder;
  readonly #batcher: Batcher;
  readonly #cache: ScoreCache | undefined;
  /** Largest batch in tokens, padding included. */
  readonly maxBatchTokens: number;
  #isClosed = false;
  #underWay = 0;

  private constructor(
    facts: ModelFacts,
    engine: Awaited<ReturnType<typeof openEngine>>,
    options: RerankerOptions,
  ) {
    const { devices, encoder, calibration, probe } = engine;
    this.deviation = probe.deviation;
    this.deviatesBy = probe.deviatesBy;
    this.facts = { ...facts, batchInvariant: probe.deviatesBy === "rounding" };
    this.devices = devices;
    this.calibration = calibration;
    this.reference = probe.reference;
    this.maxBatchTokens =
      options.maxBatchTokens ?? defaultBatchTokens(devices[0]!.name, calibration);
    this.#encoder = encoder;
    this.#cache = options.cache?.(facts);
    this.#batcher = new Batcher(devices, {
      cost: new CostModel(calibration?.samples ?? UNMEASURED),
      maxBatchTokens: this.maxBatchTokens,
      enoughTokens: options.maxBatchTokens ?? enoughTokens(devices[0]!.name, calibration),
      maxSquares: calibration?.maxSquares,
      maxPadding: maxPadding(devices[0]!.name, probe),
      onBatch: options.onBatch ?? ((): void => {}),
      remembersScored: this.#cache?.put !== undefined,
      harmless: probe.harmless,
    });
  }

  /**
   * Reads the folder, starts the threads, loads the weights, and measures what is not known yet (some seconds, the first
   * time with a `calibrationFolder`).
   *
   * @throws CoreError `model_folder_invalid`, `model_unsupported` or `device_unavailable`.
   */
  static async load(path: string, options: RerankerOptions = {}): Promise<Reranker> {
    const folder = await openModelFolder(path, options.dtype, options.maxTokens);
    const { facts } = openModel(folder);
    const engine = await openEngine(folder, facts, options);
    try {
      return new Reranker(facts, engine, options);
    } catch (error) {
      // Threads that nobody could close any more would keep the process.
      await Promise.all([engine.encoder, ...engine.devices].map((thread) => thread.close()));
      throw error;
    }
  }

  /** Pairs that wait for a device. */
  get waitingPairs(): number {
    return this.#batcher.waitingPairs;
  }

  /** Of the waiting pairs, without padding. */
  get waitingTokens(): number {
    return this.#batcher.waitingTokens;
  }

  /** Pairs that needed no forward pass of their own, since an equal one was waiting or had just been scored. */
  get sharedPairs(): number {
    return this.#batcher.sharedPairs;
  }

  /** Whether a device has not answered for many times as long as its batches should take. */
  get isStuck(): boolean {
    return this.#batcher.isStuck;
  }

  /** Padded tokens a millisecond that all devices together get through, by what batches have cost lately. */
  get tokensPerMs(): number {
    return this.#batcher.tokensPerMs;
  }

  /**
   * Scores every document of one request.
   *
   * A document that cannot be scored is `failed` in the result and costs only itself.
   *
   * @throws CoreError `invalid_input` or `query_too_long` if no document can be scored; the signal's
   *   reason once it aborts; `engine_crashed` if a thread died, `engine_closed` after `close()`.
   */
  async score(request: ScoreRequest, options: SubmitOptions = {}): Promise<ScoredRequest> {
    if (this.#isClosed) throw new CoreError("engine_closed", "the reranker is closed");
    options.signal?.throwIfAborted();
    this.#underWay++;
    try {
      const start = performance.now();
      const { firstStageScores, ...toEncode } = request;
      const cache = this.#cache?.isIdle === true ? undefined : this.#cache;
      const encoding: Promise<EncodedRest> =
        cache === undefined
          ? this.#encoder.encode(toEncode, options.lane)
          : this.#encoder.encodeUnknown(toEncode, cache, options.lane);
      const rest = await unlessAborted(encoding, options.signal);
      const { encoded, texts, durationMs, digests, known } = rest;
      const tokenized = performance.now();
      const scores = await this.#batcher.score(encoded.pairs, options);
      const scored = toScored(encoded, scores);
      const documents = known === undefined ? scored : inOrder(known, scored);
      if (digests !== undefined) cache?.put?.(toKeep(digests, known!, encoded.documents, scored));
      const weight = this.facts.firstStageWeight;
      return {
        documents,
        pairs: scores.logits.length + pairsOf(known),
        cached: pairsOf(known),
        timings: {
          tokenizeMs: durationMs,
          waitToTokenizeMs: tokenized - start - durationMs,
          scoreMs: performance.now() - tokenized,
        },
        ...(firstStageScores === undefined || weight === undefined
          ? {}
          : { fused: fuse(documents.map(logitOf), firstStageScores, weight) }),
        ...(texts === undefined ? {} : { texts }),
        ...(digests === undefined ? {} : { digests }),
      };
    } finally {
      this.#underWay--;
    }
  }

  /** Waits for what is under way, then ends the threads and frees the sessions. Later calls throw `engine_closed`. */
  async close(): Promise<void> {
    this.#isClosed = true;
    while (this.#underWay > 0) await new Promise((resolve) => setTimeout(resolve, 5));
    await Promise.all([this.#encoder.close(), ...this.devices.map((device) => device.close())]);
  }
}

export interface RerankerOptions extends EngineOptions {
  /** Longest pair in tokens, for a model that takes more than is wanted. Default: the model's own limit. */
  readonly maxTokens?: number | undefined;
  /**
   * Largest batch in tokens, padding included. Default by the calibration: the size at 90 % of a CPU's best speed or
   * twice a GPU's knee, or some 25 ms of work (512 to 2,048 tokens) if that is more; without one 2,048 on a CPU, 32,768
   * elsewhere.
   */
  readonly maxBatchTokens?: number | undefined;
  /** Makes the cache of logits of pairs that were scored before. Default: no cache. */
  readonly cache?: ((facts: ModelFacts) => ScoreCache) | undefined;
  /** Told of each forward pass. */
  readonly onBatch?: ((report: BatchReport) => void) | undefined;
}

export interface ScoredRequest {
  /** In the order of the request's documents. */
  readonly documents: readonly ScoredDocument[];
  /** By document: its logit fused with the first stage's score, null if it failed. Absent without such scores, or such a model. */
  readonly fused?: readonly (number | null)[];
  /** Query and documents, if the request asked for them. */
  readonly texts?: Texts;
  /** By document: the digest of it with its query and length policy, if the cache was asked. */
  readonly digests?: readonly string[];
  /** Forward-pass rows: more than the documents if some were split. */
  readonly pairs: number;
  /** How many of them had their logit from the score cache. */
  readonly cached: number;
  /** In milliseconds. */
  readonly timings: {
    /** Waiting for the tokenising thread, and asking the cache. */
    readonly waitToTokenizeMs: number;
    readonly tokenizeMs: number;
    /** From tokenised to scored: waiting for a device and the passes themselves. */
    readonly scoreMs: number;
  };
}

/** The tokenising thread has its turns, but a caller who gives up need not wait for them. */
function unlessAborted<Result>(
  underWay: Promise<Result>,
  signal: AbortSignal | undefined,
): Promise<Result> {
  if (signal === undefined) return underWay;
  return new Promise((resolve, reject) => {
    const onAbort = (): void => reject(signal.reason);
    signal.addEventListener("abort", onAbort, { once: true });
    void underWay.then(resolve, reject).finally(() => signal.removeEventListener("abort", onAbort));
  });
}
