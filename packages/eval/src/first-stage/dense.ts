import { byTrecOrder, type ScoredDocument } from "../metrics/trec-order.ts";

export interface EmbeddedDocument {
  readonly id: string;
  /** Of unit length. */
  readonly vector: Float32Array;
}

/** Exact nearest neighbours by cosine: every document is compared, so recall is the model's alone. */
export class DenseIndex {
  readonly #documents: readonly EmbeddedDocument[];

  constructor(documents: readonly EmbeddedDocument[]) {
    this.#documents = documents;
  }

  /** The best `topK` for a vector of unit length, in the order of trec_eval. */
  search(query: Float32Array, topK: number): ScoredDocument[] {
    return this.#documents
      .map(({ id, vector }) => ({ id, score: dot(query, vector) }))
      .toSorted(byTrecOrder)
      .slice(0, topK);
  }
}

function dot(a: Float32Array, b: Float32Array): number {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += a[i]! * b[i]!;
  return sum;
}
