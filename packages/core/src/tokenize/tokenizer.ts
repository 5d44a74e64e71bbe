import { Tokenizer } from "@huggingface/tokenizers";
import { CoreError } from "../errors.ts";
import type { TokenizerJson } from "./tokenizer-json.ts";

/**
 * User text → token ids, without special tokens; the only file that knows `@huggingface/tokenizers`.
 *
 * The library reads a literal `[SEP]` or `<|im_end|>` in the text as that special token, which lets a
 * document close its own segment. Here user text can never become a special id: the special added
 * tokens are taken out of the tokenizer, and their vocabulary entries are renamed to strings that no
 * text contains, so they keep their ids but match nothing. This is what Hugging Face's
 * `split_special_tokens=True` does, minus its gap for Unigram vocabularies, which list `</s>` as an
 * ordinary piece.
 */
export class TextTokenizer {
  readonly #tokenizer: Tokenizer;
  /** Ids by word, where a word's ids do not depend on its neighbours: most of a text are known words. */
  readonly #words: Map<string, readonly number[]> | undefined;

  constructor(json: TokenizerJson, config: object) {
    this.#tokenizer = new Tokenizer(withoutSpecialTokens(json), config);
    this.#words = isWordwise(json) ? new Map() : undefined;
  }

  /** All token ids of `text`; lone surrogates count as U+FFFD. */
  encode(text: string): number[] {
    return this.encodeStart(text, Infinity).ids;
  }

  /**
   * At least the first `limit` ids of `text`, or all of them if it has fewer; `isComplete` says which.
   * A megabyte of text whose first 512 tokens are wanted costs a few kilobytes: the text is cut far behind
   * the limit, at white space, which no pre-tokenizer joins across, or where there is none anywhere.
   */
  encodeStart(text: string, limit: number): { ids: number[]; isComplete: boolean } {
    const words = this.#words;
    if (words === undefined) return this.#encodeWhole(text, limit);
    const ids: number[] = [];
    for (const [word] of text.matchAll(WORD)) {
      if (ids.length > limit) return { ids, isComplete: false };
      const left = limit - ids.length;
      if (word.length > endOfStart(left)) {
        const start = this.#encodeWhole(word, left);
        for (const id of start.ids) ids.push(id);
        if (!start.isComplete) return { ids, isComplete: false };
      } else for (const id of this.#encodeWord(word, words)) ids.push(id);
    }
    return { ids, isComplete: true };
  }

  #encodeWord(word: string, words: Map<string, readonly number[]>): readonly number[] {
    const known = words.get(word);
    if (known !== undefined) return known;
    const ids = this.#encode(word);
    if (word.length <= LONGEST_KNOWN_WORD) {
      if (words.size >= MOST_KNOWN_WORDS) words.clear();
      words.set(word, ids);
    }
    return ids;
  }

  #encodeWhole(text: string, limit: number): { ids: number[]; isComplete: boolean } {
    const cut = placeToCut(text, endOfStart(limit));
    if (cut < text.length) {
      const ids = this.#encode(text.slice(0, cut));
      // The last ones may be the cut's doing.
      if (ids.length > limit) return { ids: ids.slice(0, limit + 1), isComplete: false };
    }
    return { ids: this.#encode(text), isComplete: true };
  }

  #encode(text: string): number[] {
    if (text === "") return [];
    try {
      return this.#tokenizer.encode(text.toWellFormed(), { add_special_tokens: false }).ids;
    } catch (cause) {
      // The library hands all pieces of what it cannot split to one call.
      if (!(cause instanceof RangeError)) throw cause;
      const message = `has ${text.length} characters with too little white space to tokenise; set maxTokensPerDocument, or cut it up`;
      throw new CoreError("invalid_input", message, { cause });
    }
  }
}

/** What every BERT pre-tokenizer separates at; rarer white space stays inside and is the library's business. */
const WORD = /[^ \t\n\r]+/gu;
const LONGEST_KNOWN_WORD = 40;
/** Tens of megabytes at most; a text's usual words are back at once after a clearing. */
const MOST_KNOWN_WORDS = 100_000;

/**
 * BERT's normalizer looks at single characters and its pre-tokenizer splits at white space, so a text's
 * ids are its words' ids one after the other. Tokens added by hand may hold white space: then not.
 */
function isWordwise({
  normalizer,
  pre_tokenizer,
  model,
  added_tokens = [],
}: TokenizerJson): boolean {
  return (
    normalizer?.type === "BertNormalizer" &&
    pre_tokenizer?.type === "BertPreTokenizer" &&
    model.type === "WordPiece" &&
    added_tokens.every((token) => token.special)
  );
}

/** Characters that surely hold so many tokens, and the change that a cut makes to the last of them. */
function endOfStart(tokens: number): number {
  return tokens * 16 + 1024;
}

function placeToCut(text: string, from: number): number {
  if (text.length <= from * 2) return text.length;
  const window = text.slice(from, from * 2);
  const found = window.search(/\s\S/u);
  if (found >= 0) return from + found;
  const isInsidePair = /^[\uDC00-\uDFFF]/u.test(text.slice(from));
  return isInsidePair ? from + 1 : from;
}

/** A lone surrogate: `toWellFormed` keeps it out of every text, so a renamed entry matches nothing. */
const UNMATCHABLE = "\uD800";

/** A copy; entry by entry it would take a third of the time in which a small model loads. */
function renamed(
  vocab: Readonly<Record<string, number>>,
  pieces: Iterable<string>,
): Record<string, number> {
  const copy = { ...vocab };
  for (const piece of pieces) {
    const id = copy[piece];
    if (id === undefined) continue;
    delete copy[piece];
    copy[UNMATCHABLE + piece] = id;
  }
  return copy;
}

function withoutSpecialTokens(json: TokenizerJson): object {
  const special = new Set((json.added_tokens ?? []).filter((t) => t.special).map((t) => t.content));
  const rename = (piece: string): string => (special.has(piece) ? UNMATCHABLE + piece : piece);
  const { vocab, unk_token: unknown } = json.model;
  const renamedVocab = Array.isArray(vocab)
    ? vocab.map(([piece, score]: readonly [string, number]) => [rename(piece), score])
    : renamed(vocab as Readonly<Record<string, number>>, special);
  return {
    ...json,
    truncation: null,
    padding: null,
    post_processor: null,
    added_tokens: (json.added_tokens ?? []).filter((token) => !token.special),
    model: {
      ...json.model,
      vocab: renamedVocab,
      ...(typeof unknown === "string" ? { unk_token: rename(unknown) } : {}),
    },
  };
}
