/** The parts of a Hugging Face `tokenizer.json` that core reads itself. */
export interface TokenizerJson {
  readonly added_tokens?: readonly AddedToken[];
  readonly normalizer?: { readonly type: string } | null;
  readonly pre_tokenizer?: { readonly type: string } | null;
  readonly post_processor?: PostProcessor | null;
  readonly model: {
    readonly type: string;
    readonly unk_token?: string | null;
    readonly vocab: Readonly<Record<string, number>> | readonly (readonly [string, number])[];
  };
}

export interface AddedToken {
  readonly id: number;
  readonly content: string;
  readonly special: boolean;
}

export type PostProcessor =
  | {
      readonly type: "TemplateProcessing";
      readonly single?: readonly TemplatePiece[];
      readonly pair: readonly TemplatePiece[];
      readonly special_tokens: Readonly<Record<string, { readonly ids: readonly number[] }>>;
    }
  | {
      readonly type: "BertProcessing" | "RobertaProcessing";
      readonly cls: readonly [string, number];
      readonly sep: readonly [string, number];
    }
  | { readonly type: "Sequence"; readonly processors: readonly PostProcessor[] }
  | { readonly type: "ByteLevel" };

export type TemplatePiece =
  | { readonly SpecialToken: { readonly id: string; readonly type_id: number } }
  | { readonly Sequence: { readonly id: "A" | "B"; readonly type_id: number } };
