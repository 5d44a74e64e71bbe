/** A pair as a batching policy sees it. */
export interface PolicyPair {
  /** Query, document and special tokens. */
  readonly tokens: number;
  /** Of query and document. */
  readonly characters: number;
  /** The request that it belongs to; a request's pairs stand together. */
  readonly request: number;
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
 * SIE (superlinked): a request is one item of work, with all its documents; shortest first, up to 16,384
 * characters or 64 requests in a batch.
 */
export const siePolicy: Policy = (pairs) => {
  const requests: { pairs: number[]; characters: number }[] = [];
  for (const [index, { request, characters }] of pairs.entries()) {
    const item = (requests[request] ??= { pairs: [], characters: 0 });
    item.pairs.push(index);
    item.characters += characters;
  }
  const order = requests
    .map((_, request) => request)
    .sort((a, b) => requests[a]!.characters - requests[b]!.characters);
  let characters = 0;
  const batches = cut(order, (batch, next) => {
    if (batch.length === 1) ({ characters } = requests[batch[0]!]!);
    characters += requests[next]!.characters;
    return batch.length < 64 && characters <= 16_384;
  });
  return batches.map((batch) => batch.flatMap((request) => requests[request]!.pairs));
};

/** What SIE does not do: its order and budget on pairs. The nearest that characters come to tokens. */
export const siePairsPolicy: Policy = (pairs) => {
  const alone = pairs.map((pair, request) => ({ ...pair, request }));
  return siePolicy(alone);
};

/** Replays, by the name that the tables show. */
export const REPLAYED: Readonly<Record<string, Policy>> = {
  "infinity (replay)": infinityPolicy,
  "TEI (replay)": teiPolicy,
  "SIE (replay)": siePolicy,
};

/** In the table, but nobody's: for those who wonder how much of the gain is in sorting pairs at all. */
export const HYPOTHETICAL: Readonly<Record<string, Policy>> = {
  "SIE's, if by pairs": siePairsPolicy,
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
