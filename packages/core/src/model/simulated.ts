import type { Tensor } from "../backend/backend.ts";
import { CoreError, type CoreFailure } from "../errors.ts";
import type { EncodedRequest, LengthPolicy } from "../tokenize/pairs.ts";
import type { ModelFacts, PointwiseFamily, PointwiseModel } from "./family.ts";
import { SIMULATED_MODEL_TYPE, type ModelFolder } from "./folder.ts";

/**
 * A model that is none, for `backend/simulated.ts`: it shows what the fleet does around a device, on
 * machines that have no such device. A token is four characters, and a score is a digest of the pair, so
 * it is the same wherever and beside whatever it is computed, and means nothing.
 */
export const simulated: PointwiseFamily = {
  kind: "pointwise",
  name: "simulated",
  accepts: ({ config }) => config.model_type === SIMULATED_MODEL_TYPE,
  open: openSimulated,
};

const CHARACTERS_PER_TOKEN = 4;
const MAX_TOKENS = 8192;

function openSimulated(folder: ModelFolder): PointwiseModel {
  const facts: ModelFacts = {
    family: simulated.name,
    revision: folder.revision,
    dtype: folder.dtype,
    maxTokens: folder.config.max_position_embeddings ?? MAX_TOKENS,
    activation: "sigmoid",
  };
  return {
    facts,
    encode: (query, documents, policy) => encode(query, documents, policy, facts.maxTokens),
    inputs: ({ ids, offsets }): Record<string, Tensor> => {
      const rows = offsets.length - 1;
      const digests = new BigInt64Array(rows);
      let length = 0;
      for (let row = 0; row < rows; row++) {
        digests[row] = BigInt(ids[offsets[row]!]!);
        length = Math.max(length, offsets[row + 1]! - offsets[row]!);
      }
      return {
        digests: { type: "int64", data: digests, dims: [rows] },
        length: { type: "int64", data: BigInt64Array.of(BigInt(length)), dims: [1] },
      };
    },
    logits: ({ logits }) => {
      if (logits?.type !== "float32") throw new Error("bug: a simulated device gave no logits");
      return new Float32Array(logits.data);
    },
  };
}

function encode(
  query: string,
  documents: readonly string[],
  { maxTokensPerDocument = Infinity }: LengthPolicy,
  maxTokens: number,
): EncodedRequest {
  const queryTokens = Math.ceil(query.length / CHARACTERS_PER_TOKEN);
  if (queryTokens >= maxTokens) {
    throw new CoreError("query_too_long", `leaves no room for a document in ${maxTokens} tokens`, {
      field: "query",
    });
  }
  const room = Math.min(maxTokens - queryTokens, maxTokensPerDocument);
  const queryDigest = digest(query, 0x811c9dc5);
  const offsets = [0];
  const digests: number[] = [];
  const firstPairs = new Int32Array(documents.length + 1);
  const truncated = new Uint8Array(documents.length);
  const failures = new Map<number, CoreFailure>();
  for (const [index, document] of documents.entries()) {
    if (document === "") {
      const field = `documents[${index}]`;
      failures.set(index, { code: "invalid_input", message: "must not be empty", field });
    } else {
      const documentTokens = Math.ceil(document.length / CHARACTERS_PER_TOKEN);
      if (documentTokens > room) truncated[index] = 1;
      offsets.push(offsets.at(-1)! + queryTokens + Math.min(room, documentTokens));
      digests.push(digest(document, queryDigest));
    }
    firstPairs[index + 1] = digests.length;
  }
  const ids = new Int32Array(offsets.at(-1)!);
  digests.forEach((value, pair) => (ids[offsets[pair]!] = value));
  const pairs = {
    ids,
    offsets: new Int32Array(offsets),
    secondStarts: new Int32Array(digests.length),
  };
  return { pairs, documents: { firstPairs, truncated, failures } };
}

/** FNV-1a over UTF-16 units, 31 bits (Fowler, Noll and Vo). */
function digest(text: string, seed: number): number {
  let hash = seed;
  for (let i = 0; i < text.length; i++) hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193);
  return hash >>> 1;
}
