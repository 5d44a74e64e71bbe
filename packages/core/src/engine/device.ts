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
  readonly #underWay = new Set<{ readonly lane: number; readonly expectedMs: number }>();
  /** When it last ended a batch, or was sent one while it had none. */
  #lastSign = 0;
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

  /** Its thread has ended: every batch is refused. */
  get isDead(): boolean {
    return this.#channel.isDead;
  }

  /** Batches sent and not yet answered. */
  get inFlight(): number {
    return this.#channel.pending;
  }

  /** Of these, how many a batch of this lane would have to wait for. */
  inFlightUpTo(lane: number): number {
    let count = 0;
    for (const other of this.#underWay) if (other.lane <= lane) count++;
    return count;
  }

  /** Whether it has given no sign for many times as long as what is under way should take. */
  get isSilent(): boolean {
    if (this.#underWay.size === 0) return false;
    const expectedMs = Math.max(...[...this.#underWay].map((batch) => batch.expectedMs));
    const longestMs = Math.max(LEAST_SILENCE_MS, TIMES_EXPECTED * expectedMs);
    return performance.now() - this.#lastSign > longestMs;
  }

  /** Milliseconds spent in forward passes since it was opened. */
  get busyMs(): number {
    return this.#busyMs;
  }

  /**
   * The batch's arrays move to the thread and are gone here.
   *
   * @param options.lane A batch of a more urgent lane overtakes those that lie ready. Default 3.
   * @param options.expectedMs What the pass should take, if that is known: see {@link isSilent}.
   */
  async run(
    batch: TokenBatch,
    { lane = DEFAULT_LANE, expectedMs = 0 }: { lane?: number; expectedMs?: number } = {},
  ): Promise<InferReply> {
    const buffers = [batch.ids.buffer, batch.offsets.buffer, batch.secondStarts.buffer];
    const underWay = { lane, expectedMs };
    if (this.#underWay.size === 0) this.#lastSign = performance.now();
    this.#underWay.add(underWay);
    try {
      const reply = await this.#channel.call(batch, buffers, lane);
      this.#busyMs += reply.durationMs;
      return reply;
    } finally {
      this.#underWay.delete(underWay);
      this.#lastSign = performance.now();
    }
  }

  close(): Promise<void> {
    return this.#channel.close();
  }
}

/** A machine that swaps or is suspended is slow, and not stuck. */
const TIMES_EXPECTED = 20;
const LEAST_SILENCE_MS = 1_000;

/** A vocabulary of 250,000 pieces is of no use to a thread that sees only ids. */
function withoutVocabulary(folder: ModelFolder): ModelFolder {
  const { tokenizerJson } = folder;
  return {
    ...folder,
    tokenizerJson: { ...tokenizerJson, model: { type: tokenizerJson.model.type, vocab: {} } },
  };
}
