import { hash } from "node:crypto";
import type { EncodedPairs } from "../tokenize/pairs.ts";

/**
 * What a pair's score depends on beside the model: its ids and where the document begins. Texts and
 * truncation have a say only through these, so equal digests mean equal forward passes.
 *
 * @returns The first 132 bits of a SHA-256 as base64url, one for each pair.
 */
export function pairDigests({ ids, offsets, secondStarts }: EncodedPairs): string[] {
  return Array.from(secondStarts, (secondStart, pair) => {
    const row = ids.subarray(offsets[pair], offsets[pair + 1]);
    const sequence = new Int32Array(row.length + 1);
    sequence[0] = secondStart;
    sequence.set(row, 1);
    return hash("sha256", sequence, "base64url").slice(0, 22);
  });
}
