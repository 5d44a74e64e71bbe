import type { Tensor } from "../backend/backend.ts";
import type { TokenBatch } from "../batch/pack.ts";
import type { EncodedRequest, LengthPolicy } from "../tokenize/pairs.ts";
import type { ModelFolder } from "./folder.ts";

/**
 * A family of rerankers: how text becomes sequences, sequences become a graph's inputs, and its
 * outputs become logits. It holds no session, no thread and no queue, so one family object serves the
 * tokenising thread (`encode`), the inference thread (`inputs`, `logits`) and the caller (`facts`).
 *
 * Every *pointwise* family fits here as it is: its unit of work is one sequence for one
 * (query, document) pair, whatever stands around the two texts. A yes/no LLM reranker (Qwen3, Zerank), when there is one,
 * would write its prompt in `encode`, ask for left padding in `inputs`, and answer
 * `logit(yes) − logit(no)` in `logits`. Late interaction (ColBERT) would encode query and documents as
 * sequences of their own, and `logits` would be its MaxSim: it needs the query's vectors, so its batch
 * would carry a query row. What does not fit is a family whose documents see each other or that has no
 * graph here: listwise LLMs and hosted providers rank a whole request at once, and stand beside this
 * interface as a second `kind`, below the reranker and past the batcher.
 */
export interface PointwiseFamily {
  readonly kind: "pointwise";
  readonly name: string;
  /** Whether this family can read the folder; the first of the list that can, does. */
  accepts(folder: ModelFolder): boolean;
  /** @throws CoreError `model_unsupported` or `model_folder_invalid` with what is missing. */
  open(folder: ModelFolder): PointwiseModel;
}

export interface PointwiseModel {
  readonly facts: ModelFacts;
  /** @throws CoreError if the query cannot be scored; a failed document is marked, not thrown. */
  encode(query: string, documents: readonly string[], policy: LengthPolicy): EncodedRequest;
  /**
   * What the graph takes for this batch; `names` are the inputs that it declares. The arrays are used
   * again for the next batch.
   */
  inputs(batch: TokenBatch, names: readonly string[]): Record<string, Tensor>;
  /** One logit for each of the `rows`, in the batch's order; `names` are the outputs that the graph declares. */
  logits(
    outputs: Readonly<Record<string, Tensor>>,
    names: readonly string[],
    rows: number,
  ): Float32Array<ArrayBuffer>;
}

/** What is true of a model before it has scored anything. */
export interface ModelFacts {
  readonly family: string;
  /** The first 12 hexadecimal digits of the SHA-256 over the folder's files. */
  readonly revision: string;
  readonly dtype: string;
  /** Longest sequence in tokens, query and special tokens included. */
  readonly maxTokens: number;
  /** How a logit becomes a score. */
  readonly activation: Activation;
  /**
   * Whether a pair's score is the same in any batch, except for the rounding of float32 sums. Measured
   * when the model is loaded; `undefined` before.
   */
  readonly batchInvariant?: boolean;
  /** The weight of first-stage scores beside the logits (see `fuse`); absent unless the model has learnt to use them. */
  readonly firstStageWeight?: number;
}

/** `sigmoid` gives 0 … 1; `identity` leaves the logit as it is. */
export type Activation = "sigmoid" | "identity";

export function activate(logit: number, activation: Activation): number {
  return activation === "sigmoid" ? 1 / (1 + Math.exp(-logit)) : logit;
}
