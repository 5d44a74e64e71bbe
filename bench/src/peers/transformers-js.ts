import { basename, dirname } from "node:path";
import {
  AutoModelForSequenceClassification,
  AutoTokenizer,
  env,
  type PreTrainedModel,
  type PreTrainedTokenizer,
} from "@huggingface/transformers";
import type { Request } from "../workloads.ts";

export interface PeerModel {
  readonly folder: string;
  readonly dtype: "fp32" | "fp16" | "int8";
  /** Threads of the one session. */
  readonly threads: number;
}

/** transformers.js as its documentation uses it: one padded batch for each request. */
export class TransformersJs {
  readonly #tokenizer: PreTrainedTokenizer;
  readonly #model: PreTrainedModel;

  private constructor(tokenizer: PreTrainedTokenizer, model: PreTrainedModel) {
    this.#tokenizer = tokenizer;
    this.#model = model;
  }

  static async load({ folder, dtype, threads }: PeerModel): Promise<TransformersJs> {
    env.allowRemoteModels = false;
    env.localModelPath = dirname(folder);
    const name = basename(folder);
    return new TransformersJs(
      await AutoTokenizer.from_pretrained(name),
      await AutoModelForSequenceClassification.from_pretrained(name, {
        dtype,
        device: "cpu",
        session_options: { intraOpNumThreads: threads },
      }),
    );
  }

  async score({ query, documents }: Request): Promise<number[]> {
    const inputs = this.#tokenizer(
      documents.map(() => query),
      { text_pair: [...documents], padding: true, truncation: true, max_length: 512 },
    ) as unknown;
    const { logits } = (await this.#model(inputs)) as { logits: { data: Float32Array } };
    return Array.from(logits.data);
  }

  async close(): Promise<void> {
    await this.#model.dispose();
  }
}
