import { usableCores } from "./engine/usable-cores.ts";
import { ThreadChannel } from "./engine/channel.ts";
import type { EmbedData, EmbedFacts, EmbedReply, EmbedRequest } from "./engine/embed-thread.ts";
import { openModelFolder } from "./model/folder.ts";
import { readEmbeddingConfig, type EmbeddingConfig } from "./model/embedding.ts";

export interface EmbedderOptions {
  /** Which of the folder's weights, and where they run: as for `Reranker.load`. */
  readonly dtype?: string | undefined;
  readonly device?: string | undefined;
  /** Threads of a forward pass. Default: as many as there are cores. */
  readonly threads?: number | undefined;
}

/**
 * Text in, unit vectors out: a bi-encoder from a Sentence Transformers style folder, for the first stage
 * of an evaluation. Pooling and prompts are the folder's own; vectors are normalised, so that their dot
 * product is the cosine.
 */
export class Embedder {
  readonly config: EmbeddingConfig;
  readonly #thread: ThreadChannel<EmbedFacts, EmbedRequest, EmbedReply>;

  private constructor(
    config: EmbeddingConfig,
    thread: ThreadChannel<EmbedFacts, EmbedRequest, EmbedReply>,
  ) {
    this.config = config;
    this.#thread = thread;
  }

  /** @throws CoreError `model_folder_invalid`, `model_unsupported` or `device_unavailable`. */
  static async load(path: string, options: EmbedderOptions = {}): Promise<Embedder> {
    const folder = await openModelFolder(path, options.dtype);
    const config = await readEmbeddingConfig(folder);
    const data: EmbedData = {
      folder,
      config,
      backend: {
        device: options.device ?? "auto",
        intraOpThreads: options.threads ?? usableCores(),
      },
    };
    const thread = new ThreadChannel<EmbedFacts, EmbedRequest, EmbedReply>("embed-thread", data);
    await thread.ready;
    return new Embedder(config, thread);
  }

  /**
   * One unit vector of the model's width for each text, in order; texts beyond the model's limit are cut.
   *
   * @param kind Chooses the folder's prompt, which is put before each text.
   * @throws CoreError `inference_failed` if a forward pass throws, `engine_crashed` if the thread has died.
   */
  async embed(texts: readonly string[], kind: "query" | "document"): Promise<Float32Array[]> {
    const { vectors, dimensions } = await this.#thread.call({
      texts: texts.map((text) => this.config.prompts[kind] + text),
    });
    return texts.map((_, index) => vectors.subarray(index * dimensions, (index + 1) * dimensions));
  }

  close(): Promise<void> {
    return this.#thread.close();
  }
}
