/**
 * Which side gives way when a pair is too long, as Hugging Face names it: `longest_first` cuts the
 * longer text until both are equally long, then both; `only_second` cuts the document alone.
 */
export type Truncation = "longest_first" | "only_second";

/**
 * How many tokens of query and document to keep so that they fit into `room`, equal to
 * `truncate_encodings` of Hugging Face's tokenizers (`tokenizers/src/utils/truncation.rs`).
 *
 * @returns `undefined` if `only_second` cannot make it fit, because the query alone fills the room.
 */
export function truncatePair(
  queryTokens: number,
  documentTokens: number,
  room: number,
  truncation: Truncation,
): { query: number; document: number } | undefined {
  if (queryTokens + documentTokens <= room) return { query: queryTokens, document: documentTokens };
  if (truncation === "only_second") {
    return queryTokens < room ? { query: queryTokens, document: room - queryTokens } : undefined;
  }
  const shorter = Math.min(queryTokens, documentTokens);
  const half = Math.floor(room / 2);
  const isShorterKept = shorter <= half;
  const kept = isShorterKept ? shorter : half;
  const rest = room - kept;
  return queryTokens > documentTokens
    ? { query: rest, document: kept }
    : { query: kept, document: rest };
}
