import { CoreError, toFailure, type CoreFailure } from "../errors.ts";
import type { PairTemplate } from "./template.ts";
import type { TextTokenizer } from "./tokenizer.ts";
import { truncatePair, type Truncation } from "./truncate.ts";

/** What to do with a document that does not fit beside its query. */
export interface LengthPolicy {
  /** Which side is cut. Default `longest_first`. */
  readonly truncation?: Truncation;
  /**
   * `truncate` (default) scores what fits; `split` scores the document in parts and takes the best
   * part's logit (MaxP, Dai & Callan 2019); `refuse` makes it an error of that document.
   */
  readonly longDocuments?: "truncate" | "split" | "refuse";
  /** Cuts each document to so many tokens before anything else. Default: no cut. */
  readonly maxTokensPerDocument?: number;
}

/** Token sequences of many pairs, end to end, so that they cross threads without a copy. */
export interface EncodedPairs {
  /** All ids of all pairs. Pair i is `ids[offsets[i] … offsets[i + 1])`. */
  readonly ids: Int32Array<ArrayBuffer>;
  readonly offsets: Int32Array<ArrayBuffer>;
  /** Per pair, the place within it from which token type 1 holds; its end if the model has only type 0. */
  readonly secondStarts: Int32Array<ArrayBuffer>;
  /** Per pair, a hash of all that its score depends on beside the model; if equal pairs are to be shared. */
  readonly hashes?: Int32Array<ArrayBuffer>;
}

/** What became of a request's documents, in columns, which cross threads at a tenth of what an object for each would cost. */
export interface EncodedDocuments {
  /** Document i has the pairs `firstPairs[i] … firstPairs[i + 1]`: one; more if it was split; none if it failed. */
  readonly firstPairs: Int32Array<ArrayBuffer>;
  /** 1 where some of the document's text, or of the query's beside it, will not be read. */
  readonly truncated: Uint8Array<ArrayBuffer>;
  /** Why a document failed, by its place. */
  readonly failures: ReadonlyMap<number, CoreFailure>;
}

export interface EncodedRequest {
  readonly pairs: EncodedPairs;
  readonly documents: EncodedDocuments;
}

/** A document split in more parts than this is refused: one pair in the queue is one unit of work. */
export const MAX_PARTS_PER_DOCUMENT = 256;

/**
 * One query against its documents, as token sequences of at most `maxTokens`.
 *
 * The query is tokenised once. A document that fails is marked and costs only itself.
 *
 * @throws CoreError `query_too_long` if the query leaves no room for any document.
 */
export function encodePairs(
  query: string,
  documents: readonly string[],
  policy: LengthPolicy,
  model: {
    readonly tokenizer: TextTokenizer;
    readonly template: PairTemplate;
    readonly maxTokens: number;
  },
): EncodedRequest {
  const room = model.maxTokens - model.template.specialTokens;
  const encoder = new PairEncoder(
    model.template,
    queryIds(query, policy, room, model.tokenizer),
    room,
  );
  const firstPairs = new Int32Array(documents.length + 1);
  const truncated = new Uint8Array(documents.length);
  const failures = new Map<number, CoreFailure>();
  for (const [index, document] of documents.entries()) {
    try {
      if (!document.isWellFormed()) throw new CoreError("invalid_input", "has a lone surrogate");
      // Some tokenizers make tokens of white space, and what is left out of one text would be scored in another.
      if (document.trim() === "") throw new CoreError("invalid_input", NO_TEXT);
      const ids = documentIds(document, policy, room, model.tokenizer);
      if (encoder.add(ids, policy)) truncated[index] = 1;
    } catch (error) {
      failures.set(index, { ...toFailure(error, "invalid_input"), field: `documents[${index}]` });
    }
    firstPairs[index + 1] = encoder.pairs;
  }
  return { pairs: encoder.finish(), documents: { firstPairs, truncated, failures } };
}

/** Of what is no text at all nothing but that is left by the time it gets here. */
const NO_TEXT = "has no text: it must be a string, or an object with text, that is not empty";

interface DocumentIds {
  readonly ids: readonly number[];
  /** `ids` is not the whole document, for there is no room for more. */
  readonly isCut: boolean;
  /** Nor is it, for the policy allows no more tokens. */
  readonly isCapped: boolean;
}

function queryIds(
  query: string,
  policy: LengthPolicy,
  room: number,
  tokenizer: TextTokenizer,
): readonly number[] {
  const { ids } = tokenizer.encodeStart(query, room + 1);
  if (ids.length === 0)
    throw new CoreError("invalid_input", "has no token that the model knows how to read", {
      field: "query",
    });
  if (policy.truncation === "only_second" && ids.length >= room) {
    throw new CoreError(
      "query_too_long",
      `leaves no room for a document, of which there is for ${room} tokens in all; shorten it or use truncation "longest_first"`,
      { field: "query" },
    );
  }
  return ids;
}

function documentIds(
  document: string,
  policy: LengthPolicy,
  room: number,
  tokenizer: TextTokenizer,
): DocumentIds {
  const cap = policy.maxTokensPerDocument;
  if (policy.longDocuments === "split" && cap === undefined) {
    // No more than what is refused for its many parts.
    const { ids } = tokenizer.encodeStart(document, MAX_PARTS_PER_DOCUMENT * room);
    return { ids, isCut: false, isCapped: false };
  }
  const limit = policy.longDocuments === "split" ? cap! : Math.min(cap ?? Infinity, room);
  const { ids, isComplete } = tokenizer.encodeStart(document, limit + 1);
  const isCapped = cap !== undefined && ids.length > cap;
  return { ids: isCapped ? ids.slice(0, cap) : ids, isCut: !isCapped && !isComplete, isCapped };
}

/** Lays pairs out one after the other in growing arrays. */
class PairEncoder {
  readonly #template: PairTemplate;
  readonly #query: readonly number[];
  readonly #room: number;
  readonly #ids: number[] = [];
  readonly #offsets: number[] = [0];
  readonly #secondStarts: number[] = [];

  constructor(template: PairTemplate, query: readonly number[], room: number) {
    this.#template = template;
    this.#query = query;
    this.#room = room;
  }

  get pairs(): number {
    return this.#secondStarts.length;
  }

  /**
   * Adds a document's pair, or its pairs if it is to be split.
   *
   * @returns whether some of its text, or of the query's beside it, is left out.
   */
  add(document: DocumentIds, policy: LengthPolicy): boolean {
    if (document.ids.length === 0) {
      throw new CoreError("invalid_input", "has no token that the model knows how to read");
    }
    const isTruncated =
      policy.longDocuments === "split"
        ? this.#addParts(document, policy)
        : this.#addWhole(document, policy);
    return isTruncated || document.isCapped;
  }

  finish(): EncodedPairs {
    return {
      ids: new Int32Array(this.#ids),
      offsets: new Int32Array(this.#offsets),
      secondStarts: new Int32Array(this.#secondStarts),
    };
  }

  #addWhole({ ids, isCut }: DocumentIds, policy: LengthPolicy): boolean {
    const kept = truncatePair(
      this.#query.length,
      ids.length,
      this.#room,
      policy.truncation ?? "longest_first",
    );
    if (kept === undefined) throw new Error("bug: a query without room passed queryIds");
    const isTruncated = isCut || kept.document < ids.length || kept.query < this.#query.length;
    if (isTruncated && policy.longDocuments === "refuse") {
      throw new CoreError(
        "document_too_long",
        `does not fit: query and document have room for ${this.#room} tokens together, of which ${kept.document} would be the document's; shorten one of them or set longDocuments to "truncate" or "split"`,
      );
    }
    this.#push(kept.query, ids, 0, kept.document);
    return isTruncated;
  }

  #addParts({ ids, isCut }: DocumentIds, { truncation }: LengthPolicy): boolean {
    if (this.#query.length + ids.length <= this.#room) {
      this.#push(this.#query.length, ids, 0, ids.length);
      return isCut;
    }
    // A query that may be cut takes at most half of a part: else every part would hold next to nothing.
    const most = truncation === "only_second" ? this.#room : Math.floor(this.#room / 2);
    const query = Math.min(this.#query.length, most);
    const part = this.#room - query;
    const parts = Math.ceil(ids.length / part);
    if (parts > MAX_PARTS_PER_DOCUMENT) {
      throw new CoreError(
        "document_too_long",
        `splits into ${parts} parts; at most ${MAX_PARTS_PER_DOCUMENT} are scored: shorten it or set maxTokensPerDocument`,
      );
    }
    for (let start = 0; start < ids.length; start += part) {
      this.#push(query, ids, start, Math.min(start + part, ids.length));
    }
    return isCut || query < this.#query.length;
  }

  #push(queryLength: number, document: readonly number[], from: number, to: number): void {
    const { before, between, after, betweenOfQuery, documentType } = this.#template;
    const ids = this.#ids;
    const start = ids.length;
    for (const id of before) ids.push(id);
    for (let i = 0; i < queryLength; i++) ids.push(this.#query[i]!);
    for (const id of between) ids.push(id);
    for (let i = from; i < to; i++) ids.push(document[i]!);
    for (const id of after) ids.push(id);
    this.#offsets.push(ids.length);
    const secondStart = before.length + queryLength + betweenOfQuery;
    this.#secondStarts.push(documentType === 0 ? ids.length - start : secondStart);
    if (ids.length - start > this.#room + this.#template.specialTokens) {
      throw new Error("bug: a pair is longer than the model allows");
    }
  }
}
