import { stemmer } from "stemmer";

/**
 * Text → index terms, in the way of Lucene's EnglishAnalyzer: words, possessive 's off, lower case,
 * stop words out, Porter stems.
 *
 * Words approximate its StandardTokenizer (UAX #29): runs of letters, marks and digits, which an
 * inner apostrophe or full stop does not split (don't, U.S, 3.5); Chinese characters and hiragana one by one.
 */
export function analyzeEnglish(text: string): string[] {
  const terms: string[] = [];
  for (const [word] of text.matchAll(WORD)) {
    const term = termOf(word);
    if (term !== undefined) terms.push(term);
  }
  return terms;
}

/** Stemming is most of what an index costs, and words come again and again. */
const known = new Map<string, string | undefined>();
const MOST_KNOWN = 500_000;

/** Undefined for a stop word. */
function termOf(word: string): string | undefined {
  const term = known.get(word);
  if (term !== undefined || known.has(word)) return term;
  const lower = word.toLowerCase().replace(POSSESSIVE, "");
  const found = STOP_WORDS.has(lower) ? undefined : stemmer(lower);
  if (known.size >= MOST_KNOWN) known.clear();
  known.set(word, found);
  return found;
}

const SINGLE = String.raw`[\p{sc=Han}\p{sc=Hiragana}]`;
const LETTER = String.raw`(?!${SINGLE})[\p{L}\p{M}\p{N}]`;
const WORD = new RegExp(String.raw`${SINGLE}|(?:${LETTER})+(?:['’.](?:${LETTER})+)*`, "gu");
const POSSESSIVE = /['’]s$/;

/** EnglishAnalyzer.ENGLISH_STOP_WORDS_SET: the 33 words of Lucene. */
const STOP_WORDS: ReadonlySet<string> = new Set(
  (
    "a an and are as at be but by for if in into is it no not of on or such that the their then " +
    "there these they this to was will with"
  ).split(" "),
);
