import type { BackendOptions, Tensor } from "../backend/backend.ts";
import { openBackend } from "../backend/backends.ts";
import { Packer } from "../batch/pack.ts";
import { CoreError } from "../errors.ts";
import { pool, type EmbeddingConfig } from "../model/embedding.ts";
import type { ModelFolder } from "../model/folder.ts";
import { maxTokens, openTokenizer, padTokenId } from "../model/folder-tokenizer.ts";
import { parseSingleTemplate } from "../tokenize/template.ts";
import { serveThread } from "./channel.ts";

export interface EmbedData {
  readonly folder: ModelFolder;
  readonly config: EmbeddingConfig;
  readonly backend: BackendOptions;
}

export interface EmbedFacts {
  readonly device: string;
}

export interface EmbedRequest {
  readonly texts: readonly string[];
}

export interface EmbedReply {
  /** float32 [texts, dimensions] */
  readonly vectors: Float32Array<ArrayBuffer>;
  readonly dimensions: number;
}

/** Padded tokens of a forward pass. */
const BATCH_TOKENS = 4096;

await serveThread<EmbedData, EmbedFacts, EmbedRequest, EmbedReply>(
  async ({ folder, config, backend }) => {
    const session = await openBackend(folder.weights, backend);
    const tokenizer = openTokenizer(folder);
    const { before, after } = parseSingleTemplate(folder.tokenizerJson);
    const packer = new Packer(padTokenId(folder));
    const longest = Math.min(maxTokens(folder), config.maxTokens);
    const room = longest - before.length - after.length;
    const encode = (text: string): number[] => [
      ...before,
      ...tokenizer.encodeStart(text, room).ids.slice(0, room),
      ...after,
    ];

    const forward = async (rows: readonly number[][]): Promise<Float32Array<ArrayBuffer>> => {
      const lengths = rows.map((row) => row.length);
      const offsets = Int32Array.from([
        0,
        ...lengths.map((_, i) => lengths.slice(0, i + 1).reduce((a, b) => a + b)),
      ]);
      const packed = packer.pack({
        ids: Int32Array.from(rows.flat()),
        offsets,
        secondStarts: Int32Array.from(lengths),
      });
      const data: Record<string, BigInt64Array> = {
        input_ids: packed.inputIds,
        attention_mask: packed.attentionMask,
        token_type_ids: new BigInt64Array(packed.inputIds.length),
      };
      const feeds = session.facts.inputs.map((name): [string, Tensor] => {
        const values = data[name];
        if (values === undefined) throw unsupported(`the graph asks for the input "${name}"`);
        return [name, { type: "int64", data: values, dims: [packed.rows, packed.length] }];
      });
      const outputs = await session.run(Object.fromEntries(feeds));
      const hidden = outputs["last_hidden_state"] ?? outputs["token_embeddings"];
      if (hidden?.type !== "float32" || hidden.dims.length !== 3) {
        throw unsupported(
          `the graph gives ${session.facts.outputs.join(", ")}, not last_hidden_state`,
        );
      }
      return pool(hidden.data, lengths, packed.length, config.pooling);
    };

    return {
      ready: { device: session.facts.device },
      fallback: "inference_failed",
      longestHoldMs: 0,
      answer: async ({ texts }) => {
        const encoded = texts.map((text, index) => ({ index, ids: encode(text) }));
        encoded.sort((a, b) => a.ids.length - b.ids.length);
        let vectors = new Float32Array();
        let dimensions = 0;
        for (let start = 0; start < encoded.length;) {
          let end = start + 1;
          while (
            end < encoded.length &&
            encoded[end]!.ids.length * (end + 1 - start) <= BATCH_TOKENS
          )
            end++;
          const batch = encoded.slice(start, end);
          const pooled = await forward(batch.map(({ ids }) => ids));
          dimensions = pooled.length / batch.length;
          if (start === 0) vectors = new Float32Array(texts.length * dimensions);
          for (const [row, { index }] of batch.entries()) {
            vectors.set(
              pooled.subarray(row * dimensions, (row + 1) * dimensions),
              index * dimensions,
            );
          }
          start = end;
        }
        return { reply: { vectors, dimensions }, transfer: [vectors.buffer] };
      },
      close: () => session.close(),
    };
  },
);

function unsupported(what: string): CoreError {
  return new CoreError("model_unsupported", `${what}, which an embedding model does not have`, {
    field: "model",
  });
}
