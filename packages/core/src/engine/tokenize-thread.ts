import type { ModelFolder } from "../model/folder.ts";
import { openModel } from "../model/families.ts";
import type { EncodedRequest } from "../tokenize/pairs.ts";
import { serveThread } from "./channel.ts";
import { pairDigests } from "./pair-digest.ts";
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
  /** Give each pair a digest, for those who share or keep scores. */
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
      let encoded = model.encode(query, documents, policy);
      const { ids, offsets, secondStarts } = encoded.pairs;
      if (data.withDigests) {
        encoded = { ...encoded, pairs: { ...encoded.pairs, digests: pairDigests(encoded.pairs) } };
      }
      return {
        reply: {
          encoded,
          ...(returnTexts ? { texts: { query, documents } } : {}),
          durationMs: performance.now() - start,
        },
        transfer: [ids.buffer, offsets.buffer, secondStarts.buffer],
      };
    },
    close: async () => {},
  };
});
