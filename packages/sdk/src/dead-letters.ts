import type { DeadLetter, DeadLetterDetails, PoisonPair, RedriveOutcome } from "@rankfleet/queue";
import type { Session } from "./session.ts";

/**
 * What could not be scored, and was put aside: whole jobs, and single pairs that a model revision cannot
 * score. Both are kept for people to look at; nothing is tried again by itself.
 */
export class DeadLetterBox {
  readonly #session: () => Promise<Session>;

  constructor(session: () => Promise<Session>) {
    this.#session = session;
  }

  /** A model's jobs that were given up, the latest first. At most `limit`, by default 100. */
  async list(
    model: string,
    options: { readonly offset?: number; readonly limit?: number } = {},
  ): Promise<DeadLetter[]> {
    return (await this.#session()).deadLetters.list(model, options);
  }

  /** One of them with its texts; undefined if there is none by this id. */
  async get(id: string): Promise<DeadLetterDetails | undefined> {
    return (await this.#session()).deadLetters.get(id);
  }

  /** All of a model's, one after the other, however many they are. */
  async *export(model: string): AsyncGenerator<DeadLetterDetails, void, void> {
    const { deadLetters } = await this.#session();
    for (let offset = 0; ; offset += PAGE) {
      const page = await deadLetters.list(model, { offset, limit: PAGE });
      for (const { id } of page) {
        const details = await deadLetters.get(id);
        if (details !== undefined) yield details;
      }
      if (page.length < PAGE) return;
    }
  }

  /** Has a job tried again as if it were new; whoever waits by its id gets the new result. */
  async redrive(id: string): Promise<RedriveOutcome> {
    return (await this.#session()).deadLetters.redrive(id);
  }

  /** Forgets a job and its texts. @returns false if there was none. */
  async discard(id: string): Promise<boolean> {
    return (await this.#session()).deadLetters.discard(id);
  }

  /** Pairs that threw, gave no number or killed their workers: by digest, without their texts. */
  async pairs(model: string): Promise<PoisonPair[]> {
    return (await this.#session()).poison.list(model);
  }

  /** Lets a pair be tried again by the revision that failed on it. @returns false if it was not listed. */
  async forgive(
    model: string,
    pair: { readonly revision: string; readonly digest: string },
  ): Promise<boolean> {
    return (await this.#session()).poison.forgive(model, pair);
  }
}

const PAGE = 100;
