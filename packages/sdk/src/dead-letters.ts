import type { DeadLetter, DeadLetterDetails, PoisonPair, RedriveOutcome } from "@rankfleet/queue";
import type { Session } from "./session.ts";

/**
 * What could not be scored: whole jobs that were given up, kept for 30 days, and single pairs that a model revision
 * cannot score. Both are there for people to look at; nothing is tried again by itself.
 *
 * Every call may throw RedisUnavailableError or ClientClosedError, and those with an `id` JobNotFoundError if it is not
 * of the form of a job's id.
 */
export class DeadLetterBox {
  readonly #session: () => Promise<Session>;

  constructor(session: () => Promise<Session>) {
    this.#session = session;
  }

  /** A model's dead letters, the latest first: at most `limit` (default 100), after the first `offset` (default 0). */
  async list(
    model: string,
    options: { readonly offset?: number; readonly limit?: number } = {},
  ): Promise<DeadLetter[]> {
    return this.#with(({ deadLetters }) => deadLetters.list(model, options));
  }

  /** One of them with its texts; undefined if there is none by this id. */
  async get(id: string): Promise<DeadLetterDetails | undefined> {
    return this.#with(({ deadLetters }) => deadLetters.get(id));
  }

  /** The ids of all of a model's, the latest first. */
  async ids(model: string): Promise<string[]> {
    return this.#with(({ deadLetters }) => deadLetters.ids(model));
  }

  /** All of a model's, one after the other, however many they are; they may be redriven or discarded on the way. */
  async *export(model: string): AsyncGenerator<DeadLetterDetails, void, void> {
    for (const id of await this.ids(model)) {
      const details = await this.get(id);
      if (details !== undefined) yield details;
    }
  }

  /** Has a job tried again as if it were new, without its deadline; whoever waits for its id gets the new result. */
  async redrive(id: string): Promise<RedriveOutcome> {
    return this.#with(({ deadLetters }) => deadLetters.redrive(id));
  }

  /** Forgets a job and its texts. @returns false if there was none. */
  async discard(id: string): Promise<boolean> {
    return this.#with(({ deadLetters }) => deadLetters.discard(id));
  }

  /** Pairs that threw, gave no number or killed their workers: by digest, without their texts. */
  async pairs(model: string): Promise<PoisonPair[]> {
    return this.#with(({ poison }) => poison.list(model));
  }

  /** Lets a pair be tried again by the revision that failed on it. @returns false if it was not listed. */
  async forgive(
    model: string,
    pair: { readonly revision: string; readonly digest: string },
  ): Promise<boolean> {
    return this.#with(({ poison }) => poison.forgive(model, pair));
  }

  async #with<Result>(ask: (session: Session) => Promise<Result>): Promise<Result> {
    const session = await this.#session();
    return session.whileOpen(ask(session));
  }
}
