import type { EncodedRequest } from "../tokenize/pairs.ts";
import { ThreadChannel } from "./channel.ts";
import type { ScoreRequest, Texts } from "./request.ts";
import { DEFAULT_LANE } from "./submission.ts";
import type { KeptFailure, KeptScore, ScoreCache } from "./score-cache.ts";
import type { TokenizeData, TokenizeReply, TokenizeRequest } from "./tokenize-thread.ts";

/** A request as pairs, without the documents whose score is known. */
export interface EncodedRest {
  readonly encoded: EncodedRequest;
  /** One for each document, if a cache was asked. */
  readonly digests?: readonly string[];
  /** What the cache knew of each document, if it was asked. */
  readonly known?: readonly (KeptScore | KeptFailure | undefined)[];
  readonly texts?: Texts | undefined;
  /** Milliseconds in the tokenising thread. */
  readonly durationMs: number;
}

/** The tokenising thread, as its callers see it. */
export class Encoder {
  readonly #channel: ThreadChannel<null, TokenizeRequest, TokenizeReply>;

  constructor(data: TokenizeData) {
    this.#channel = new ThreadChannel("tokenize-thread", data);
  }

  /** Rejects if the thread cannot start. */
  get ready(): Promise<null> {
    return this.#channel.ready;
  }

  /**
   * @param lane A more urgent request overtakes those that wait. Default 3.
   * @throws CoreError `invalid_input` or `query_too_long`; `engine_crashed` if the thread died.
   */
  async encode(request: ScoreRequest, lane: number = DEFAULT_LANE): Promise<EncodedRest> {
    const reply = await this.#channel.call({ encode: request }, movable(request), lane);
    return { ...reply, encoded: reply.encoded! };
  }

  /** Asks the cache first, and has only the other documents tokenised. Throws as `encode`. */
  async encodeUnknown(
    request: ScoreRequest,
    cache: ScoreCache,
    lane: number = DEFAULT_LANE,
  ): Promise<EncodedRest> {
    const read = await this.#channel.call({ hold: request }, movable(request), lane);
    const { ticket, digests } = read.held!;
    const known = await cache.get(digests);
    const documents = digests.flatMap((_, index) => (known[index] === undefined ? [index] : []));
    const pending = this.#channel.call({ ticket, documents }, [], lane);
    const asked = { digests, known, texts: read.texts };
    if (documents.length === 0) {
      pending.catch(() => {}); // The thread only lets go of the texts.
      return { encoded: NOTHING, durationMs: read.durationMs, ...asked };
    }
    const rest = await pending;
    return { encoded: rest.encoded!, durationMs: read.durationMs + rest.durationMs, ...asked };
  }

  close(): Promise<void> {
    return this.#channel.close();
  }
}

/** Of a request whose documents are all known. */
const NOTHING: EncodedRequest = {
  documents: {
    firstPairs: Int32Array.of(0),
    truncated: new Uint8Array(0),
    failures: new Map(),
  },
  pairs: {
    ids: new Int32Array(0),
    offsets: Int32Array.of(0),
    secondStarts: new Int32Array(0),
  },
};

/** Bytes move to the thread and are gone here; text is copied. */
function movable({ texts }: ScoreRequest): ArrayBuffer[] {
  return "json" in texts && typeof texts.json !== "string" ? [texts.json.buffer] : [];
}
