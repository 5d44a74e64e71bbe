/**
 * Many may go on together, or one alone. What kills a process while a suspect is tried must be the suspect, so
 * nothing else may be scored meanwhile: who wants to be alone waits until the others are through, and those who
 * come in the meantime wait for it.
 */
export class Solitude {
  #inCompany = 0;
  #alone: Promise<void> | undefined;
  #onLastGone: () => void = () => {};

  async together<Result>(step: () => Promise<Result>): Promise<Result> {
    while (this.#alone !== undefined) await this.#alone;
    this.#inCompany++;
    try {
      return await step();
    } finally {
      if (--this.#inCompany === 0) this.#onLastGone();
    }
  }

  /** One after the other. */
  async alone<Result>(step: () => Promise<Result>): Promise<Result> {
    const before = this.#alone;
    let end: () => void = () => {};
    const mine = new Promise<void>((resolve) => (end = resolve));
    this.#alone = mine;
    await before;
    if (this.#inCompany > 0) await new Promise<void>((resolve) => (this.#onLastGone = resolve));
    try {
      return await step();
    } finally {
      if (this.#alone === mine) this.#alone = undefined;
      end();
    }
  }
}
