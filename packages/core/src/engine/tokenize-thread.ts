import { openModel } from "../model/families.ts";
import type { ModelFolder } from "../model/folder.ts";
import type { EncodedRequest, LengthPolicy } from "../tokenize/pairs.ts";
import { serveThread } from "./channel.ts";
import { documentDigests, pairHashes } from "./pair-identity.ts";
import { readTexts, type ScoreRequest, type Texts } from "./request.ts";
import { Slots } from "./slots.ts";

/** A request is encoded at once; or read and held, until its caller knows which documents to encode. */
export type TokenizeRequest =
  | { readonly encode: ScoreRequest }
  | { readonly hold: ScoreRequest }
  | { readonly ticket: number; readonly documents: readonly number[] };

export interface TokenizeReply {
  /** Absent of a request that is held. */
  readonly encoded?: EncodedRequest;
  readonly held?: { readonly ticket: number; readonly digests: readonly string[] };
  /** Query and documents as they came, if the request asked for them. */
  readonly texts?: Texts;
  /** Time that parsing and tokenising took, without waiting. */
  readonly durationMs: number;
}

export interface TokenizeData {
  readonly folder: ModelFolder;
  /** Give each pair a hash, so that equal ones can share a forward pass. */
  readonly withHashes: boolean;
}

/** A device may have nothing else to do. But of requests that take microseconds the messages are the dearest part. */
const LONGEST_HOLD_MS = 1;

await serveThread<TokenizeData, null, TokenizeRequest, TokenizeReply>(async (data) => {
  const model = openModel(data.folder);
  const held = new Slots<{ texts: Texts; policy: LengthPolicy }>();

  const encode = ({ query, documents }: Texts, policy: LengthPolicy): EncodedRequest => {
    const encoded = model.encode(query, documents, policy);
    if (!data.withHashes) return encoded;
    return { ...encoded, pairs: { hashes: pairHashes(encoded.pairs), ...encoded.pairs } };
  };

  const answer = (request: TokenizeRequest): Omit<TokenizeReply, "durationMs"> => {
    if ("ticket" in request) {
      const { texts, policy } = held.take(request.ticket)!;
      if (request.documents.length === 0) return {};
      const documents = request.documents.map((index) => texts.documents[index]!);
      return { encoded: encode({ query: texts.query, documents }, policy) };
    }
    const isHeld = "hold" in request;
    const { texts: source, returnTexts, ...policy } = isHeld ? request.hold : request.encode;
    const texts = readTexts(source);
    const returned = returnTexts ? { texts } : {};
    if (!isHeld) return { encoded: encode(texts, policy), ...returned };
    const ticket = held.put({ texts, policy });
    return { held: { ticket, digests: documentDigests(texts, policy) }, ...returned };
  };

  return {
    ready: null,
    fallback: "invalid_input",
    longestHoldMs: LONGEST_HOLD_MS,
    answer: async (request) => {
      const start = performance.now();
      const answered = answer(request);
      const { pairs, documents } = answered.encoded ?? {};
      const columns = [
        pairs?.ids,
        pairs?.offsets,
        pairs?.secondStarts,
        pairs?.hashes,
        documents?.firstPairs,
        documents?.truncated,
      ];
      const durationMs = performance.now() - start;
      return {
        reply: { durationMs, ...answered },
        transfer: columns.flatMap((column) => column?.buffer ?? []),
        mayWaitFor: (next) => durationMs * (sizeOf(next) / sizeOf(request)) < LONGEST_HOLD_MS,
      };
    },
    close: async () => {},
  };
});

/** In characters or bytes; NaN, which compares with nothing, where only reading it would tell. */
function sizeOf(request: TokenizeRequest): number {
  if ("ticket" in request) return Number.NaN;
  const { texts } = "hold" in request ? request.hold : request.encode;
  return "json" in texts && texts.isGzip !== true ? texts.json.length : Number.NaN;
}
