import { CoreError } from "../errors.ts";
import { TextTokenizer } from "../tokenize/tokenizer.ts";
import type { ModelFolder } from "./folder.ts";

// What the files of a folder say together of how its text is to be read.

/**
 * The tokenizer's limit and the position table's, whichever is smaller. RoBERTa-style models number
 * positions from pad_token_id + 1, so their table is that much longer than what fits.
 */
export function maxTokens({ path, config, tokenizerConfig }: ModelFolder): number {
  // Jina's configs name the architecture and no type.
  const names = [config.model_type, ...(config.architectures ?? [])].join(" ");
  const isRoberta = /roberta|camembert/iu.test(names);
  const offset = isRoberta ? (config.pad_token_id ?? 1) + 1 : 0;
  const positions = (config.max_position_embeddings ?? Infinity) - offset;
  const limit = Math.min(tokenizerConfig.model_max_length ?? Infinity, positions);
  if (limit >= 8 && limit <= 1_000_000) return limit;
  throw new CoreError(
    "model_folder_invalid",
    `${path} does not say how long its input may be: set max_position_embeddings in config.json or model_max_length in tokenizer_config.json`,
    { field: "model" },
  );
}

export function padTokenId({ config, tokenizerJson, tokenizerConfig }: ModelFolder): number {
  const { pad_token: token } = tokenizerConfig;
  const content = typeof token === "string" ? token : token?.content;
  const added = tokenizerJson.added_tokens?.find((candidate) => candidate.content === content);
  // Any id will do where neither says: the attention mask hides it.
  return config.pad_token_id ?? added?.id ?? 0;
}

/** @throws CoreError `model_folder_invalid` if the file is no tokenizer that can be built. */
export function openTokenizer({
  path,
  tokenizerJson,
  tokenizerConfig,
}: ModelFolder): TextTokenizer {
  try {
    return new TextTokenizer(tokenizerJson, tokenizerConfig);
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause);
    throw new CoreError(
      "model_folder_invalid",
      `${path}/tokenizer.json makes no tokenizer: ${why}`,
      { field: "model", cause },
    );
  }
}
