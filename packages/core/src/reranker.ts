import { availableParallelism } from "node:os";
import type { BatchReport, PairOutcome, SubmitOptions } from "./engine/batcher.ts";
import { Batcher } from "./engine/batcher.ts";
import { ThreadChannel } from "./engine/channel.ts";
import { Device } from "./engine/device.ts";
import type { ScoreRequest, Texts } from "./engine/request.ts";
import type { TokenizeReply } from "./engine/tokenize-thread.ts";
import { CoreError, type CoreFailure } from "./errors.ts";
import { openModel } from "./model/families.ts";
import type { ModelFacts } from "./model/family.ts";
import { fuse } from "./model/fusion.ts";
import { openModelFolder, type ModelFolder } from "./model/folder.ts";
import type { EncodedDocument } from "./tokenize/pairs.ts";

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
  readonly #tokenizer: ThreadChannel<null, ScoreRequest, TokenizeReply>;
  readonly #batcher: Batcher;
  /** Tokens of one full batch on every device: what a feeder of this reranker should keep ready. */
  readonly tokensPerRound: number;
  #isClosed = false;
  #underWay = 0;

  private constructor(
    facts: ModelFacts,
    devices: readonly Device[],
    tokenizer: ThreadChannel<null, ScoreRequest, TokenizeReply>,
    batcher: Batcher,
  ) {
    this.tokensPerRound = batcher.maxBatchTokens * devices.length;
    this.facts = facts;
    this.devices = devices;
    this.#tokenizer = tokenizer;
    this.#batcher = batcher;
  }

  /**
   * Reads the folder, starts the threads and loads the weights.
   *
   * @throws CoreError `model_folder_invalid`, `model_unsupported` or `device_unavailable`.
   */
  static async load(path: string, options: RerankerOptions = {}): Promise<Reranker> {
    const folder = await openModelFolder(path, options.dtype);
    const { facts } = openModel(folder);
    const tokenizer = new ThreadChannel<null, ScoreRequest, TokenizeReply>(
      "tokenize-thread",
      folder,
    );
    const opened = await Promise.allSettled([tokenizer.ready, ...openDevices(folder, options)]);
    const devices = opened
      .slice(1)
      .flatMap((o) => (o.status === "fulfilled" ? [o.value as Device] : []));
    const failed = opened.find((outcome) => outcome.status === "rejected");
    if (failed !== undefined) {
      await Promise.all([tokenizer, ...devices].map((thread) => thread.close()));
      throw failed.reason;
    }
    const batcher = new Batcher(devices, {
      maxBatchTokens: options.maxBatchTokens ?? defaultBatchTokens(devices[0]!.name),
      onBatch: options.onBatch ?? ((): void => {}),
    });
    return new Reranker(facts, devices, tokenizer, batcher);
  }

  /** Pairs that wait for a device. */
  get waitingPairs(): number {
    return this.#batcher.waitingPairs;
  }

  /** Tokens that wait for a device. */
  get waitingTokens(): number {
    return this.#batcher.waitingTokens;
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
      const { firstStageScores, ...toTokenize } = request;
      const { encoded, texts, durationMs } = await this.#tokenizer.call(
        toTokenize,
        movable(request),
      );
      const tokenized = performance.now();
      const outcomes = await this.#batcher.score(encoded.pairs, options);
      const documents = encoded.documents.map((document) => toScored(document, outcomes));
      const weight = this.facts.firstStageWeight;
      return {
        documents,
        ...(firstStageScores === undefined || weight === undefined
          ? {}
          : { fused: fuse(documents.map(logitOf), firstStageScores, weight) }),
        ...(texts === undefined ? {} : { texts }),
        pairs: outcomes.length,
        timings: {
          tokenizeMs: durationMs,
          waitToTokenizeMs: tokenized - start - durationMs,
          scoreMs: performance.now() - tokenized,
        },
      };
    } finally {
      this.#underWay--;
    }
  }

  /** Waits for what is under way, then ends the threads and frees the sessions. */
  async close(): Promise<void> {
    this.#isClosed = true;
    while (this.#underWay > 0) await new Promise((resolve) => setTimeout(resolve, 5));
    await Promise.all([this.#tokenizer.close(), ...this.devices.map((device) => device.close())]);
  }
}

export interface RerankerOptions {
  /** Weights to take: `fp32`, `fp16`, `int8`, `q8`, `q4` …; by default the first that the folder has. */
  readonly dtype?: string | undefined;
  /** `cpu`, `cuda`, `cuda:1`, `tensorrt`, `webgpu`, `coreml`, `directml` or `auto` (default). */
  readonly device?: string | undefined;
  /** CPU threads for forward passes; by default as many as there are cores. */
  readonly threads?: number | undefined;
  /** Largest batch in tokens, padding included. Default 2,048 on a CPU, 32,768 elsewhere. */
  readonly maxBatchTokens?: number | undefined;
  /** Told of each forward pass. */
  readonly onBatch?: ((report: BatchReport) => void) | undefined;
}

export type ScoredDocument =
  | {
      readonly state: "scored";
      readonly logit: number;
      /** Tokens read for it, query and special tokens included. */
      readonly tokens: number;
      readonly isTruncated: boolean;
    }
  | { readonly state: "failed"; readonly failure: CoreFailure };

export interface ScoredRequest {
  /** In the order of the request's documents. */
  readonly documents: readonly ScoredDocument[];
  /** Logits fused with the first stage's scores, if the request carried them and the model can. */
  readonly fused?: readonly (number | null)[];
  /** Query and documents, if the request asked for them. */
  readonly texts?: Texts;
  /** Forward-pass rows: more than the documents if some were split. */
  readonly pairs: number;
  readonly timings: {
    readonly waitToTokenizeMs: number;
    readonly tokenizeMs: number;
    /** From tokenised to scored: waiting for a device and the passes themselves. */
    readonly scoreMs: number;
  };
}

/** Bytes move to the tokenising thread and are gone here; text is copied. */
function movable({ texts }: ScoreRequest): ArrayBuffer[] {
  return "json" in texts && typeof texts.json !== "string" ? [texts.json.buffer] : [];
}

/** A document's logit is its best part's; it fails only if every part did. */
function toScored(document: EncodedDocument, outcomes: readonly PairOutcome[]): ScoredDocument {
  if (document.failure !== undefined) return { state: "failed", failure: document.failure };
  const parts = outcomes.slice(document.firstPair, document.firstPair + document.pairs);
  const logits = parts.flatMap((part) => ("logit" in part ? [part.logit] : []));
  if (logits.length > 0) {
    const { tokens, isTruncated } = document;
    return {
      state: "scored",
      logit: Math.max(...logits),
      tokens,
      isTruncated: isTruncated || logits.length < parts.length,
    };
  }
  const failed = parts.find((part) => "failure" in part);
  if (failed === undefined) throw new Error("bug: a document without pairs and without a failure");
  return { state: "failed", failure: failed.failure };
}

function logitOf(document: ScoredDocument): number | null {
  return document.state === "scored" ? document.logit : null;
}

/** Weights above this share of memory are loaded once, not once a thread. */
const LARGE_WEIGHTS_BYTES = 512 * 1024 * 1024;

/**
 * A CPU runs one single-threaded session a core: two of them score 2.0× one two-threaded session for a
 * tiny int8 model and 1.1× for MiniLM-L6 (measured on 2 cores, 2026-11). Large weights are shared by
 * one session instead, and so is a GPU.
 */
function openDevices(folder: ModelFolder, options: RerankerOptions): Promise<Device>[] {
  const device = options.device ?? "auto";
  const threads = options.threads ?? availableParallelism();
  const isOnCpu = device === "cpu" || device === "auto";
  const sessions = isOnCpu && folder.weightsBytes < LARGE_WEIGHTS_BYTES ? threads : 1;
  const intraOpThreads = Math.max(1, Math.floor(threads / sessions));
  return Array.from({ length: sessions }, () => Device.open(folder, { device, intraOpThreads }));
}

function defaultBatchTokens(device: string): number {
  return device === "cpu" ? 2048 : 32_768;
}
