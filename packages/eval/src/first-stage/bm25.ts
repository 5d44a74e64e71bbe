import { setImmediate as turn } from "node:timers/promises";
import { byTrecOrder } from "../metrics/trec-order.ts";
import { analyzeEnglish } from "./analyze-english.ts";

export interface Bm25Document {
  readonly id: string;
  readonly title?: string;
  readonly text: string;
}

export interface Bm25Options {
  /** How fast repeated terms stop counting. Default 0.9, as in Anserini (SearchCollection.java). */
  readonly k1?: number;
  /** How much long documents pay for their length, 0 to 1. Default 0.4, likewise. */
  readonly b?: number;
  /** Text → terms, for documents and queries alike. Default English. */
  readonly analyze?: (text: string) => readonly string[];
}

export interface Bm25Hit {
  readonly id: string;
  readonly score: number;
  /** From 1. */
  readonly rank: number;
}

/**
 * BM25 in memory, with the formula of Lucene 8 and later (BM25Similarity.java):
 *
 *     idf(t) = ln(1 + (N - n + 0.5) / (n + 0.5))
 *     score  = Σ idf(t) · f / (f + k1 · (1 - b + b · length / average length))
 *
 * It lacks the factor (k1 + 1) of the textbooks, which changes no order. N and the average count
 * only documents that have a term, and a term that stands twice in the query counts twice, as in
 * Lucene. Unlike Lucene, which keeps lengths of 40 and more in one rounded byte, lengths are exact,
 * and numbers are doubles. Title and text are one field.
 */
export class Bm25Index {
  readonly #ids: string[] = [];
  /** By term: a document's place, its frequency there, the next document's place, … */
  readonly #postings = new Map<string, number[]>();
  readonly #lengths: number[] = [];
  readonly #options: Required<Bm25Options>;
  /** Documents that have a term, and all their terms. */
  #filled = 0;
  #terms = 0;
  #lengthFactors: readonly number[] | undefined;

  constructor(documents: Iterable<Bm25Document>, options: Bm25Options = {}) {
    this.#options = { k1: 0.9, b: 0.4, analyze: analyzeEnglish, ...options };
    for (const document of documents) this.#add(document);
  }

  /**
   * The same without holding up the process: an index of a large corpus takes a minute.
   *
   * @throws the signal's reason.
   */
  static async build(
    documents: Iterable<Bm25Document>,
    { signal, ...options }: Bm25Options & { readonly signal?: AbortSignal } = {},
  ): Promise<Bm25Index> {
    const index = new Bm25Index([], options);
    let added = 0;
    for (const document of documents) {
      index.#add(document);
      if (++added % DOCUMENTS_A_TURN !== 0) continue;
      await turn();
      signal?.throwIfAborted();
    }
    return index;
  }

  #add({ id, title, text }: Bm25Document): void {
    const terms = this.#options.analyze(title ? `${title}\n${text}` : text);
    for (const [term, frequency] of counted(terms)) {
      const postings = this.#postings.get(term);
      if (postings === undefined) this.#postings.set(term, [this.#ids.length, frequency]);
      else postings.push(this.#ids.length, frequency);
    }
    this.#ids.push(id);
    this.#lengths.push(terms.length);
    this.#lengthFactors = undefined;
    if (terms.length === 0) return;
    this.#filled++;
    this.#terms += terms.length;
  }

  /** k1 · (1 − b + b · length ÷ average length), by document. */
  #factors(): readonly number[] {
    const { k1, b } = this.#options;
    const average = this.#terms / this.#filled;
    this.#lengthFactors ??= this.#lengths.map((length) => k1 * (1 - b + (b * length) / average));
    return this.#lengthFactors;
  }

  /** The best `topK` documents that share a term with the query, in the order of trec_eval. */
  search(query: string, topK: number): Bm25Hit[] {
    const scores = new Float64Array(this.#ids.length);
    const factors = this.#factors();
    for (const [term, count] of counted(this.#options.analyze(query))) {
      const postings = this.#postings.get(term) ?? [];
      const n = postings.length / 2;
      const weight = count * Math.log(1 + (this.#filled - n + 0.5) / (n + 0.5));
      for (let i = 0; i < postings.length; i += 2) {
        const [document, frequency] = [postings[i]!, postings[i + 1]!];
        const saturated = frequency / (frequency + factors[document]!);
        scores[document]! += weight * saturated;
      }
    }
    return atLeastAsGood(scores, topK)
      .map((document) => ({ id: this.#ids[document]!, score: scores[document]! }))
      .sort(byTrecOrder)
      .slice(0, topK)
      .map(({ id, score }, index) => ({ id, score, rank: index + 1 }));
  }
}

const DOCUMENTS_A_TURN = 1_000;

/** Places of the scores above 0 that are no lower than the `count`th highest. */
function atLeastAsGood(scores: Float64Array, count: number): number[] {
  // Numbers sort many times faster by themselves than with their places, of which few are wanted.
  const sorted = scores.toSorted();
  const least = sorted[Math.max(0, sorted.length - count)] ?? 0;
  const places: number[] = [];
  for (const [place, score] of scores.entries()) {
    if (score > 0 && score >= least) places.push(place);
  }
  return places;
}

function counted(terms: readonly string[]): Map<string, number> {
  const counts = new Map<string, number>();
  for (const term of terms) counts.set(term, (counts.get(term) ?? 0) + 1);
  return counts;
}
