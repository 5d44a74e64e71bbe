import type { CrossEncoderShape } from "../models/cross-encoder-graph.ts";

/**
 * Floating-point operations of one pair of `length` tokens: of each layer's matrix products, a multiplication and an
 * addition for each weight and token (4 d² of attention's projections, 2 d f of the feed-forward part), and for each
 * token 4 · length · d of attention itself (its products with all keys, and of the weights with all values). Look-ups,
 * norms, softmax and activations are not counted; nor is the head, which sees one token.
 */
export function flopsPerPair(
  { layers, hidden, intermediate }: Omit<CrossEncoderShape, "vocabulary" | "positions">,
  length: number,
): number {
  const weights = 4 * hidden ** 2 + 2 * hidden * intermediate;
  return layers * length * (2 * weights + 4 * length * hidden);
}
