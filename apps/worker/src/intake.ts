/**
 * How many jobs to have in hand: enough tokens for four rounds of full batches (one computing, one
 * ready, one being tokenised, one being written), and no more, for what this worker holds no other
 * can take.
 */
export class Intake {
  readonly #tokensWanted: number;
  #tokensPerJob: number | undefined;

  constructor(tokensPerRound: number) {
    this.#tokensWanted = 4 * tokensPerRound;
  }

  get jobs(): number {
    if (this.#tokensPerJob === undefined) return MIN_JOBS;
    return Math.min(
      MAX_JOBS,
      Math.max(MIN_JOBS, Math.ceil(this.#tokensWanted / this.#tokensPerJob)),
    );
  }

  /** Learns from a job's size; returns how many jobs to have in hand from now on. */
  after(tokens: number): number {
    this.#tokensPerJob =
      this.#tokensPerJob === undefined ? tokens : 0.9 * this.#tokensPerJob + 0.1 * tokens;
    return this.jobs;
  }
}

const MIN_JOBS = 4;
const MAX_JOBS = 512;
