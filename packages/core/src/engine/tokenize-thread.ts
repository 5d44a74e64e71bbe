import type { ModelFolder } from "../model/folder.ts";
import { openModel } from "../model/families.ts";
import type { EncodedRequest } from "../tokenize/pairs.ts";
import { serveThread } from "./channel.ts";
import { pairDigests, pairHashes } from "./pair-identity.ts";
import { readTexts, type ScoreRequest, type Texts } from "./request.ts";

export interface TokenizeReply {
  readonly encoded: EncodedRequest;
  /** Query and documents as they came, if the request asked for them. */
  readonly texts?: Texts;
  /** Time that parsing and tokenising took, without waiting. */
  readonly durationMs: number;
}

export interface TokenizeData {
  readonly folder: ModelFolder;
  /** Give each pair a hash, so that equal ones can share a forward pass. */
  readonly withHashes: boolean;
  /** Give each pair a digest, under which its score can be kept. */
  readonly withDigests: boolean;
}

await serveThread<TokenizeData, null, ScoreRequest, TokenizeReply>(async (data) => {
  const model = openModel(data.folder);
  return {
    ready: null,
    fallback: "invalid_input",
    answer: async ({ texts, returnTexts, ...policy }) => {
      const start = performance.now();
      const { query, documents } = readTexts(texts);
      const { pairs, documents: of } = model.encode(query, documents, policy);
      const hashes = data.withHashes ? pairHashes(pairs) : undefined;
      const encoded = {
        documents: of,
        pairs: {
          ...pairs,
          ...(hashes === undefined ? {} : { hashes }),
          ...(data.withDigests ? { digests: pairDigests(pairs) } : {}),
        },
      };
      const { ids, offsets, secondStarts } = pairs;
      const arrays = [ids.buffer, offsets.buffer, secondStarts.buffer];
      return {
        reply: {
          encoded,
          ...(returnTexts ? { texts: { query, documents } } : {}),
          durationMs: performance.now() - start,
        },
        transfer: hashes === undefined ? arrays : [...arrays, hashes.buffer],
      };
    },
    close: async () => {},
  };
});
