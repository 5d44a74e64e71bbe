/**
 * What calibration and the comparison of workers run on: one query and passages from to the point to
 * off it, of unequal length. Changing a word changes every recorded reference.
 */
export const CALIBRATION_QUERY = "how does a cross-encoder score a document for a query";

export const CALIBRATION_DOCUMENTS: readonly string[] = [
  "A cross-encoder reads the query and the document together in one pass and answers with one score.",
  "Relevance.",
  "Embeddings are computed for the query and the document apart, and compared by their cosine, so what the one says about the other is never seen.",
  "The harbour was closed on Tuesday, because the ferry to the island needed a new propeller.",
  "Scores of documents: 12, 7, 3.",
  "To score a pair, the words of both texts are laid out in one sequence with a separator between them. Every layer lets each word look at every other word, whichever side it stands on, and at the end a small linear layer turns the first position into a number. The larger the number, the better the document answers the query.",
  "It does not score documents at all; it only stores them.",
  "Boil the potatoes for twenty minutes, drain them, and let them cool before you peel them.",
];

/** Ordinary words without an end, for sequences of any length. */
export function wordsFor(tokens: number): string {
  const words = CALIBRATION_DOCUMENTS.join(" ");
  return `${words} `.repeat(Math.ceil(tokens / 150) + 1);
}
