import type { ModelFolder } from "../model/folder.ts";
import { openModel } from "../model/families.ts";
import type { EncodedRequest } from "../tokenize/pairs.ts";
import { serveThread } from "./channel.ts";
import { readTexts, type ScoreRequest, type Texts } from "./request.ts";

export interface TokenizeReply {
  readonly encoded: EncodedRequest;
  /** Query and documents as they came, if the request asked for them. */
  readonly texts?: Texts;
  /** Time that parsing and tokenising took, without waiting. */
  readonly durationMs: number;
}

await serveThread<ModelFolder, null, ScoreRequest, TokenizeReply>(async (folder) => {
  const model = openModel(folder);
  return {
    ready: null,
    fallback: "invalid_input",
    answer: async ({ texts, returnTexts, ...policy }) => {
      const start = performance.now();
      const { query, documents } = readTexts(texts);
      const encoded = model.encode(query, documents, policy);
      const { ids, offsets, secondStarts } = encoded.pairs;
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
