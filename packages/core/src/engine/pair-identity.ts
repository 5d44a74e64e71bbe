import { hash } from "node:crypto";
import type { EncodedPairs, LengthPolicy } from "../tokenize/pairs.ts";
import type { Texts } from "./request.ts";

/**
 * What a document's score depends on beside the model: the query, its own text, and how it is cut. Of the
 * texts and not of their tokens, so that what was scored before need not be tokenised again.
 *
 * @returns The first 132 bits of a SHA-256 as base64url, one for each document.
 */
export function documentDigests({ query, documents }: Texts, policy: LengthPolicy): string[] {
  const { truncation, longDocuments, maxTokensPerDocument } = policy;
  const same = hash(
    "sha256",
    JSON.stringify([truncation, longDocuments, maxTokensPerDocument, query]),
    "base64url",
  );
  return documents.map((text) =>
    hash("sha256", same + asBytesTellIt(text), "base64url").slice(0, 22),
  );
}

/** In UTF-8 a lone surrogate, which no model reads, would be U+FFFD, which one does. JSON escapes it. */
function asBytesTellIt(text: string): string {
  return text.isWellFormed() ? text : `lone surrogates: ${JSON.stringify(text)}`;
}

/**
 * Numbers that are equal for equal pairs, and seldom for others: whoever finds two equal still compares the
 * pairs ({@link isSamePair}). FNV-1a over ids, 30 bits, which are small integers to V8.
 */
export function pairHashes({ ids, offsets, secondStarts }: EncodedPairs): Int32Array<ArrayBuffer> {
  const hashes = new Int32Array(secondStarts.length);
  for (let pair = 0; pair < hashes.length; pair++) {
    let sum = Math.imul(0x811c9dc5 ^ secondStarts[pair]!, FNV_PRIME);
    for (let i = offsets[pair]!; i < offsets[pair + 1]!; i++) {
      sum = Math.imul(sum ^ ids[i]!, FNV_PRIME);
      // Ids are larger than bytes: their high bits must come down again.
      sum ^= sum >>> 15;
    }
    hashes[pair] = sum >>> 2;
  }
  return hashes;
}

const FNV_PRIME = 0x01000193;

export function isSamePair(a: EncodedPairs, i: number, b: EncodedPairs, j: number): boolean {
  const length = a.offsets[i + 1]! - a.offsets[i]!;
  if (length !== b.offsets[j + 1]! - b.offsets[j]!) return false;
  if (a.secondStarts[i] !== b.secondStarts[j]) return false;
  for (let k = 0; k < length; k++) {
    if (a.ids[a.offsets[i]! + k] !== b.ids[b.offsets[j]! + k]) return false;
  }
  return true;
}
