import { CoreError } from "../errors.ts";
import type { PostProcessor, TemplatePiece, TokenizerJson } from "./tokenizer-json.ts";

/**
 * How a model wants a (query, document) pair laid out, e.g. `[CLS] query [SEP] document [SEP]`: read
 * from the post-processor of its own tokenizer.json, never assumed.
 */
export interface PairTemplate {
  /** Ids before the query, between query and document, and after the document. */
  readonly before: readonly number[];
  readonly between: readonly number[];
  readonly after: readonly number[];
  /** Token type of the document: 1 as in BERT, 0 as in RoBERTa, where all tokens are of one type. */
  readonly documentType: number;
  /** How many of `between` still carry token type 0; the rest are of the document's type. */
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

/** The ids around a text that stands alone, as an embedding model reads it. */
export interface SingleTemplate {
  readonly before: readonly number[];
  readonly after: readonly number[];
}

/** @throws CoreError `model_unsupported` if the tokenizer has no layout for one text. */
export function parseSingleTemplate(json: TokenizerJson): SingleTemplate {
  const processor = findTemplate(json.post_processor);
  if (processor === undefined) return { before: [], after: [] };
  if (processor.type !== "TemplateProcessing") {
    return { before: [processor.cls[1]], after: [processor.sep[1]] };
  }
  const pieces = templatePieces(processor, processor.single ?? []);
  const text = pieces.findIndex((piece) => "text" in piece);
  if (text < 0) throw unsupported("does not lay out a single text");
  return { before: idsOf(pieces.slice(0, text)), after: idsOf(pieces.slice(text + 1)) };
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
      return templatePieces(processor, processor.pair);
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
      // RoBERTa was trained with token type 0 throughout.
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

function templatePieces(
  { special_tokens: special }: Extract<Template, { type: "TemplateProcessing" }>,
  pieces: readonly TemplatePiece[],
): Piece[] {
  return pieces.map((piece) => {
    if ("Sequence" in piece) return { text: piece.Sequence.id, typeId: piece.Sequence.type_id };
    const { id, type_id: typeId } = piece.SpecialToken;
    const ids = special[id]?.ids;
    if (!ids) throw unsupported(`names the special token ${id} without giving its ids`);
    return { ids, typeId };
  });
}

function idsOf(pieces: readonly Piece[]): number[] {
  return pieces.flatMap((piece) => ("ids" in piece ? piece.ids : []));
}

function layOut(pieces: readonly Piece[]): PairTemplate {
  const a = pieces.findIndex((piece) => "text" in piece && piece.text === "A");
  const b = pieces.findIndex((piece) => "text" in piece && piece.text === "B");
  const texts = pieces.filter((piece) => "text" in piece).length;
  if (a < 0 || b < a || texts !== 2) throw unsupported("does not lay a pair out as A … B");
  const between = pieces.slice(a + 1, b);
  const [before, middle, after] = [pieces.slice(0, a), between, pieces.slice(b + 1)].map(idsOf) as [
    number[],
    number[],
    number[],
  ];
  return {
    before,
    between: middle,
    after,
    documentType: pieces[b]!.typeId,
    betweenOfQuery: idsOf(between.filter((piece) => piece.typeId === 0)).length,
    specialTokens: before.length + middle.length + after.length,
  };
}

function unsupported(what: string): CoreError {
  return new CoreError("model_unsupported", `tokenizer.json's post_processor ${what}`);
}
