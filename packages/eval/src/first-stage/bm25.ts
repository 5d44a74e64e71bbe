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
  readonly #lengthFactors: number[];
  readonly #filled: number;
  readonly #analyze: (text: string) => readonly string[];

  constructor(documents: Iterable<Bm25Document>, options: Bm25Options = {}) {
    const { k1 = 0.9, b = 0.4, analyze = analyzeEnglish } = options;
    this.#analyze = analyze;
    const lengths: number[] = [];
    for (const { id, title, text } of documents) {
      const terms = analyze(title ? `${title}\n${text}` : text);
      this.#post(this.#ids.length, terms);
      this.#ids.push(id);
      lengths.push(terms.length);
    }
    this.#filled = lengths.filter((length) => length > 0).length;
    const average = lengths.reduce((sum, length) => sum + length, 0) / this.#filled;
    this.#lengthFactors = lengths.map((length) => k1 * (1 - b + (b * length) / average));
  }

  /** The best `topK` documents that share a term with the query; ties in the documents' order. */
  search(query: string, topK: number): Bm25Hit[] {
    const scores = new Float64Array(this.#ids.length);
    for (const [term, count] of counted(this.#analyze(query))) {
      const postings = this.#postings.get(term) ?? [];
      const n = postings.length / 2;
      const weight = count * Math.log(1 + (this.#filled - n + 0.5) / (n + 0.5));
      for (let i = 0; i < postings.length; i += 2) {
        const [document, frequency] = [postings[i]!, postings[i + 1]!];
        const saturated = frequency / (frequency + this.#lengthFactors[document]!);
        scores[document]! += weight * saturated;
      }
    }
    return best(scores, topK).map((document, index) => ({
      id: this.#ids[document]!,
      score: scores[document]!,
      rank: index + 1,
    }));
  }

  #post(document: number, terms: readonly string[]): void {
    for (const [term, frequency] of counted(terms)) {
      const postings = this.#postings.get(term);
      if (postings === undefined) this.#postings.set(term, [document, frequency]);
      else postings.push(document, frequency);
    }
  }
}

/** Places of the `count` highest scores above 0, the highest first. */
function best(scores: Float64Array, count: number): number[] {
  // Numbers sort many times faster by themselves than with their places, of which few are wanted.
  const sorted = scores.toSorted();
  const least = sorted[Math.max(0, sorted.length - count)] ?? 0;
  const places: number[] = [];
  for (const [place, score] of scores.entries()) {
    if (score > 0 && score >= least) places.push(place);
  }
  return places.toSorted((a, b) => scores[b]! - scores[a]! || a - b).slice(0, count);
}

function counted(terms: readonly string[]): Map<string, number> {
  const counts = new Map<string, number>();
  for (const term of terms) counts.set(term, (counts.get(term) ?? 0) + 1);
  return counts;
}
