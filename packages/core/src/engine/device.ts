import type { BackendFacts, BackendOptions } from "../backend/backend.ts";
import type { TokenBatch } from "../batch/pack.ts";
import type { ModelFolder } from "../model/folder.ts";
import { DEFAULT_LANE } from "./submission.ts";
import { ThreadChannel } from "./channel.ts";
import type { InferData, InferReply } from "./infer-thread.ts";

/** One inference thread with its own session: what a batch runs on. */
export class Device {
  readonly name: string;
  readonly runtime: string;
  readonly #channel: ThreadChannel<BackendFacts, TokenBatch, InferReply>;
  /** Lanes of the batches under way. */
  readonly #lanes: number[] = [];
  #busyMs = 0;

  private constructor(
    channel: ThreadChannel<BackendFacts, TokenBatch, InferReply>,
    facts: BackendFacts,
  ) {
    this.#channel = channel;
    this.name = facts.device;
    this.runtime = facts.runtime;
  }

  /** @throws CoreError `device_unavailable` or `model_unsupported`. */
  static async open(folder: ModelFolder, backend: BackendOptions): Promise<Device> {
    const data: InferData = { folder: withoutVocabulary(folder), backend };
    const channel = new ThreadChannel<BackendFacts, TokenBatch, InferReply>("infer-thread", data);
    return new Device(channel, await channel.ready);
  }

  /** Batches sent and not yet answered. */
  get inFlight(): number {
    return this.#channel.pending;
  }

  /** Of these, how many a batch of this lane would have to wait for. */
  inFlightUpTo(lane: number): number {
    return this.#lanes.filter((other) => other <= lane).length;
  }

  /** Milliseconds spent in forward passes since it was opened. */
  get busyMs(): number {
    return this.#busyMs;
  }

  /**
   * The batch's arrays move to the thread and are gone here.
   *
   * @param lane A batch of a more urgent lane overtakes those that lie ready. Default 3.
   */
  async run(batch: TokenBatch, lane: number = DEFAULT_LANE): Promise<InferReply> {
    const buffers = [batch.ids.buffer, batch.offsets.buffer, batch.secondStarts.buffer];
    this.#lanes.push(lane);
    try {
      const reply = await this.#channel.call(batch, buffers, lane);
      this.#busyMs += reply.durationMs;
      return reply;
    } finally {
      this.#lanes.splice(this.#lanes.indexOf(lane), 1);
    }
  }

  close(): Promise<void> {
    return this.#channel.close();
  }
}

/** A vocabulary of 250,000 pieces is of no use to a thread that sees only ids. */
function withoutVocabulary(folder: ModelFolder): ModelFolder {
  const { tokenizerJson } = folder;
  return {
    ...folder,
    tokenizerJson: { ...tokenizerJson, model: { type: tokenizerJson.model.type, vocab: {} } },
  };
}
