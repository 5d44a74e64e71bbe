/**
 * A lock of the whole process: many steps `together`, or one `alone`. If a process dies while a suspect is tried, it
 * must have been the suspect, so nothing else may be scored meanwhile. A step that wants to be alone waits until the
 * others have ended, and those that come in the meantime wait for it.
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

  /** Several such steps run one after the other. */
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
