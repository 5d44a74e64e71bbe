/** A pair as a batching policy sees it. */
export interface PolicyPair {
  /** Query, document and special tokens. */
  readonly tokens: number;
  /** Of query and document. */
  readonly characters: number;
}

/** Pairs in their order of arrival → batches of their indices, all of them waiting from the start. */
export type Policy = (pairs: readonly PolicyPair[]) => number[][];

/** Perfectly sorted by tokens, in batches of at most so many padded tokens: the limit's order. */
export function sortedPolicy(maxTokens: number): Policy {
  return (pairs) => {
    const order = pairs
      .map((_, index) => index)
      .sort((a, b) => pairs[a]!.tokens - pairs[b]!.tokens);
    return cut(order, (batch, next) => (batch.length + 1) * pairs[next]!.tokens <= maxTokens);
  };
}

/**
 * text-embeddings-inference on its ONNX backend: first come, first served; a batch ends where the next pair
 * would make it longer than 16,384 padded tokens or more than 8 rows (router and backends/ort, 2026).
 */
export const teiPolicy: Policy = (pairs) => {
  let longest = 0;
  return cut(
    pairs.map((_, index) => index),
    (batch, next) => {
      longest = Math.max(
        batch.length === 1 ? pairs[batch[0]!]!.tokens : longest,
        pairs[next]!.tokens,
      );
      return batch.length < 8 && longest * (batch.length + 1) <= 16_384;
    },
  );
};

/** infinity: windows of 256 from the front, each sorted by characters and cut into batches of 32. */
export const infinityPolicy: Policy = (pairs) => {
  const batches: number[][] = [];
  for (let start = 0; start < pairs.length; start += 256) {
    const window = pairs
      .slice(start, start + 256)
      .map((_, offset) => start + offset)
      .sort((a, b) => pairs[a]!.characters - pairs[b]!.characters);
    for (let from = 0; from < window.length; from += 32)
      batches.push(window.slice(from, from + 32));
  }
  return batches;
};

/**
 * SIE (superlinked): whole requests, shortest first, up to 16,384 characters or 64 requests in a batch.
 * Replayed on pairs rather than requests, which is kinder to it.
 */
export const siePolicy: Policy = (pairs) => {
  const order = pairs
    .map((_, index) => index)
    .sort((a, b) => pairs[a]!.characters - pairs[b]!.characters);
  let characters = 0;
  return cut(order, (batch, next) => {
    if (batch.length === 1) ({ characters } = pairs[batch[0]!]!);
    characters += pairs[next]!.characters;
    return batch.length < 64 && characters <= 16_384;
  });
};

/** Replays, by the name that the tables show. */
export const REPLAYED: Readonly<Record<string, Policy>> = {
  "TEI (replay)": teiPolicy,
  "infinity (replay)": infinityPolicy,
  "SIE (replay)": siePolicy,
};

/** Real ÷ padded tokens. */
export function realOverPadded(pairs: readonly PolicyPair[], batches: readonly number[][]): number {
  let [real, padded] = [0, 0];
  for (const batch of batches) {
    const tokens = batch.map((index) => pairs[index]!.tokens);
    real += tokens.reduce((sum, count) => sum + count, 0);
    padded += batch.length * tokens.reduce((most, count) => Math.max(most, count), 0);
  }
  return real / padded;
}

function cut(
  order: readonly number[],
  fits: (batch: readonly number[], next: number) => boolean,
): number[][] {
  const batches: number[][] = [];
  for (const index of order) {
    const current = batches.at(-1);
    if (current !== undefined && fits(current, index)) current.push(index);
    else batches.push([index]);
  }
  return batches;
}
