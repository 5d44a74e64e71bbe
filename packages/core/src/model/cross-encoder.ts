import type { Tensor } from "../backend/backend.ts";
import { Packer, type PackedBatch } from "../batch/pack.ts";
import { CoreError } from "../errors.ts";
import { encodePairs } from "../tokenize/pairs.ts";
import { parsePairTemplate } from "../tokenize/template.ts";
import type { TextTokenizer } from "../tokenize/tokenizer.ts";
import type { Activation, ModelFacts, PointwiseFamily, PointwiseModel } from "./family.ts";
import type { ModelFolder } from "./folder.ts";
import { maxTokens, openTokenizer, padTokenId } from "./folder-tokenizer.ts";

/**
 * Sequence-classification cross-encoders with one label, of the BERT and XLM-RoBERTa layouts: MiniLM,
 * ELECTRA, BGE, Jina v2, ModernBERT, DeBERTa and the model in the box. The pair is laid out by the
 * tokenizer's own template, padded on the right, and answered with `logits` of shape [rows, 1].
 */
export const crossEncoder: PointwiseFamily = {
  kind: "pointwise",
  name: "cross-encoder",
  accepts: ({ config: { architectures, model_type: type } }) =>
    Array.isArray(architectures) &&
    architectures.some((name) => String(name).endsWith("ForSequenceClassification")) &&
    ![type, ...architectures].some((name) => DECODER.test(String(name))),
  open: openCrossEncoder,
};

/**
 * Language models with a classification head. They read a prompt, and padding on the left: laid out like an encoder's
 * pair they would answer, and wrongly.
 */
const DECODER =
  /^(?:llama|mi[sx]tral|qwen|gemma|phi|gpt|opt|bloom|falcon|stablelm|olmo|minicpm|internlm|granite|smollm|cohere|deepseek)/iu;

function openCrossEncoder(folder: ModelFolder): PointwiseModel {
  const { config } = folder;
  requireOneLabel(folder);
  const template = parsePairTemplate(folder.tokenizerJson);
  // Inference threads never tokenise, and a large vocabulary takes a second and 200 MB to build.
  let tokenizer: TextTokenizer | undefined;
  const packer = new Packer(padTokenId(folder));
  const facts: ModelFacts = {
    family: crossEncoder.name,
    revision: folder.revision,
    dtype: folder.dtype,
    maxTokens: maxTokens(folder),
    activation: activationOf(folder),
    ...(config.rankfleet?.first_stage_weight === undefined
      ? {}
      : { firstStageWeight: config.rankfleet.first_stage_weight }),
  };
  // A model with one token type was trained with type 0 throughout, whatever its template says.
  const hasTokenTypes = (config.type_vocab_size ?? 2) > 1;
  return {
    facts,
    encode: (query, documents, policy) => {
      tokenizer ??= openTokenizer(folder);
      return encodePairs(query, documents, policy, {
        tokenizer,
        template,
        maxTokens: facts.maxTokens,
      });
    },
    inputs: (batch, names) => inputs(packer.pack(batch), names, hasTokenTypes),
    logits,
  };
}

function inputs(
  packed: PackedBatch,
  names: readonly string[],
  hasTokenTypes: boolean,
): Record<string, Tensor> {
  return Object.fromEntries(
    names.map((name) => [
      name,
      {
        type: "int64",
        data: inputData(name, packed, hasTokenTypes),
        dims: [packed.rows, packed.length],
      },
    ]),
  );
}

function inputData(name: string, packed: PackedBatch, hasTokenTypes: boolean): BigInt64Array {
  switch (name) {
    case "input_ids":
      return packed.inputIds;
    case "attention_mask":
      return packed.attentionMask;
    case "token_type_ids":
      return hasTokenTypes ? packed.tokenTypeIds : new BigInt64Array(packed.inputIds.length);
    default:
      throw new CoreError(
        "model_unsupported",
        `the graph asks for the input "${name}", which a cross-encoder does not have`,
      );
  }
}

function logits(
  outputs: Readonly<Record<string, Tensor>>,
  names: readonly string[],
  rows: number,
): Float32Array<ArrayBuffer> {
  const output = outputs["logits"] ?? outputs[names[0] ?? ""];
  if (output?.type !== "float32" || output.data.length !== rows) {
    throw new CoreError(
      "model_unsupported",
      `the graph's output should be [${rows}, 1] float32, but is ${output === undefined ? "missing" : `[${output.dims.join(", ")}] ${output.type}`}`,
    );
  }
  return new Float32Array(output.data);
}

function requireOneLabel({ path, config }: ModelFolder): void {
  const labels = config.num_labels ?? Object.keys(config.id2label ?? { 0: "" }).length;
  if (labels === 1) return;
  throw new CoreError("model_unsupported", `${path} has ${labels} labels; a reranker has 1`, {
    field: "model",
  });
}

/**
 * Sentence Transformers' rule: sigmoid for one label, unless the config names the identity.
 *
 * @throws CoreError `model_unsupported` if it names another function.
 */
function activationOf({ path, config }: ModelFolder): Activation {
  const named: unknown =
    config.sentence_transformers?.activation_fn ?? config.sbert_ce_default_activation_function;
  if (named === undefined || named === null) return "sigmoid";
  const text = typeof named === "string" ? named : JSON.stringify(named);
  const name = text.split(".").at(-1);
  if (name === "Identity") return "identity";
  if (name === "Sigmoid") return "sigmoid";
  throw new CoreError(
    "model_unsupported",
    `${path} has the activation ${text}; Sigmoid and Identity are known`,
    { field: "model" },
  );
}
