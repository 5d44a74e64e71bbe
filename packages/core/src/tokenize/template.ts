import { CoreError } from "../errors.ts";
import type { PostProcessor, TokenizerJson } from "./tokenizer-json.ts";

/**
 * How a model wants a (query, document) pair laid out, e.g. `[CLS] query [SEP] document [SEP]`: read
 * from the post-processor of its own tokenizer.json, never assumed.
 */
export interface PairTemplate {
  /** Ids before the query, between query and document, and after the document. */
  readonly before: readonly number[];
  readonly between: readonly number[];
  readonly after: readonly number[];
  /** How many of `between` still carry token type 0; the document and the rest carry type 1. */
  readonly betweenOfQuery: number;
  /** Special tokens in all: what a pair costs beyond its two texts. */
  readonly specialTokens: number;
}

/** @throws CoreError `model_unsupported` if the tokenizer has no pair layout of the form A … B. */
export function parsePairTemplate(json: TokenizerJson): PairTemplate {
  const processor = findTemplate(json.post_processor);
  if (processor === undefined) {
    throw unsupported("has no TemplateProcessing, BertProcessing or RobertaProcessing");
  }
  return layOut(piecesOf(processor));
}

type Piece =
  | { readonly ids: readonly number[]; readonly typeId: number }
  | { readonly text: "A" | "B"; readonly typeId: number };

type Template = Exclude<PostProcessor, { type: "Sequence" | "ByteLevel" }>;

function findTemplate(processor: PostProcessor | null | undefined): Template | undefined {
  if (!processor || processor.type === "ByteLevel") return undefined;
  if (processor.type !== "Sequence") return processor;
  return processor.processors.map(findTemplate).find((found) => found !== undefined);
}

function piecesOf(processor: Template): Piece[] {
  switch (processor.type) {
    case "TemplateProcessing":
      return processor.pair.map((piece) => {
        if ("Sequence" in piece) return { text: piece.Sequence.id, typeId: piece.Sequence.type_id };
        const { id, type_id: typeId } = piece.SpecialToken;
        const ids = processor.special_tokens[id]?.ids;
        if (!ids) throw unsupported(`names the special token ${id} without giving its ids`);
        return { ids, typeId };
      });
    case "BertProcessing": {
      const [cls, sep] = [[processor.cls[1]], [processor.sep[1]]];
      return [
        { ids: cls, typeId: 0 },
        { text: "A", typeId: 0 },
        { ids: sep, typeId: 0 },
        { text: "B", typeId: 1 },
        { ids: sep, typeId: 1 },
      ];
    }
    case "RobertaProcessing": {
      // RoBERTa was trained with token type 0 throughout; the family feeds zeros for it.
      const [cls, sep] = [[processor.cls[1]], [processor.sep[1]]];
      return [
        { ids: cls, typeId: 0 },
        { text: "A", typeId: 0 },
        { ids: sep, typeId: 0 },
        { ids: sep, typeId: 0 },
        { text: "B", typeId: 0 },
        { ids: sep, typeId: 0 },
      ];
    }
    default:
      return processor satisfies never;
  }
}

function layOut(pieces: readonly Piece[]): PairTemplate {
  const a = pieces.findIndex((piece) => "text" in piece && piece.text === "A");
  const b = pieces.findIndex((piece) => "text" in piece && piece.text === "B");
  const texts = pieces.filter((piece) => "text" in piece).length;
  if (a < 0 || b < a || texts !== 2) throw unsupported("does not lay a pair out as A … B");
  const ids = (from: number, to: number): number[] =>
    pieces.slice(from, to).flatMap((piece) => ("ids" in piece ? piece.ids : []));
  const between = pieces.slice(a + 1, b);
  const [before, middle, after] = [ids(0, a), ids(a + 1, b), ids(b + 1, pieces.length)];
  return {
    before,
    between: middle,
    after,
    betweenOfQuery: between
      .filter((piece) => piece.typeId === 0)
      .reduce((sum, piece) => sum + ("ids" in piece ? piece.ids.length : 0), 0),
    specialTokens: before.length + middle.length + after.length,
  };
}

function unsupported(what: string): CoreError {
  return new CoreError("model_unsupported", `tokenizer.json's post_processor ${what}`);
}
