/** What the intake must know of the engine that it feeds. Read anew for each job, since speed changes. */
export interface Appetite {
  /** Tokens of one full batch on every device. */
  readonly tokensPerRound: number;
  /** Padded tokens that the devices get through in a millisecond. */
  readonly tokensPerMs: number;
}

/** What a job turned out to be. */
export interface JobSize {
  readonly tokens: number;
  readonly pairs: number;
  readonly characters: number;
}

/**
 * How many jobs to have in hand: enough for three rounds of full batches (one computing, one ready, one
 * on its way) or for {@link IN_HAND_MS} of work, whichever is more: a job takes some milliseconds from
 * Redis to its pairs, and the more pairs there are to choose from, the less is padding. (Box model, mixed
 * lengths: 96.8 % of the tokens are real with 250 ms in hand, 97.0 % with 300, 98.0 % with 500.) And no
 * more: what this worker holds no other can take, and a tenant's burst waits for it (with 500 ms, p95 of 50
 * requests at once is 2.4 times what it is without another's flood; bench `tenants`).
 */
export class Intake {
  readonly #appetite: Appetite;
  readonly #inHandMs: number;
  readonly #atFirst: number;
  readonly #least: number;
  #tokensPerJob: number | undefined;
  #pairsPerJob = 1;
  #charactersPerJob = 0;
  #jobsInHand = 0;
  #charactersInHand = 0;

  /** @param options.atFirst Jobs in hand until their size is known. */
  constructor(
    appetite: Appetite,
    {
      inHandMs = IN_HAND_MS,
      atFirst = MIN_JOBS,
      least = MIN_JOBS,
    }: { inHandMs?: number; atFirst?: number; least?: number } = {},
  ) {
    this.#appetite = appetite;
    this.#inHandMs = inHandMs;
    this.#atFirst = atFirst;
    this.#least = least;
  }

  get charactersPerToken(): number {
    if (this.#tokensPerJob === undefined) return CHARACTERS_PER_TOKEN;
    return Math.max(0.1, this.#charactersPerJob / Math.max(1, this.#tokensPerJob));
  }

  get jobs(): number {
    if (this.#tokensPerJob === undefined) {
      return Math.max(1, Math.min(this.#atFirst, this.#byCharacters));
    }
    const { tokensPerRound, tokensPerMs } = this.#appetite;
    const tokens = Math.max(ROUNDS * tokensPerRound, this.#inHandMs * tokensPerMs);
    const byTokens = Math.ceil(tokens / Math.max(1, this.#tokensPerJob));
    const byPairs = Math.ceil(MAX_PAIRS / Math.max(1, this.#pairsPerJob));
    const wanted = Math.max(this.#least, Math.min(byTokens, byPairs));
    return Math.max(1, Math.min(MAX_JOBS, wanted, this.#byCharacters));
  }

  /** Counts the jobs in hand by their real size, and only further ones by the mean so far. */
  get #byCharacters(): number {
    const room = Math.max(0, MAX_CHARACTERS - this.#charactersInHand);
    return this.#jobsInHand + Math.floor(room / Math.max(1, this.#charactersPerJob));
  }

  /** A job has been taken; returns how many to have in hand from now on. */
  begin(characters: number): number {
    this.#jobsInHand++;
    this.#charactersInHand += characters;
    return this.jobs;
  }

  /** A job that was taken is done with, whatever became of it; returns as `begin`. */
  end(characters: number): number {
    this.#jobsInHand--;
    this.#charactersInHand -= characters;
    return this.jobs;
  }

  /** Learns from a job's size. */
  after({ tokens, pairs, characters }: JobSize): void {
    const share = this.#tokensPerJob === undefined ? 1 : 0.1;
    const mean = (before: number, now: number): number => before + share * (now - before);
    this.#charactersPerJob = mean(this.#charactersPerJob, characters);
    this.#pairsPerJob = mean(this.#pairsPerJob, pairs);
    this.#tokensPerJob = mean(this.#tokensPerJob ?? tokens, tokens);
  }
}

/** Of English prose; assumed until the first jobs have shown their own. */
export const CHARACTERS_PER_TOKEN = 4;
const ROUNDS = 3;
const IN_HAND_MS = 300;
const MIN_JOBS = 4;
const MAX_JOBS = 512;
/**
 * More than any device measured here gets through in IN_HAND_MS (an H200: 7,600). What is in hand for longer than between two
 * collections of V8's young generation is copied by them: with 51,200 pairs, and twice as many in flight, a worker whose device
 * costs nothing got a sixth less done.
 */
const MAX_PAIRS = 12_800;
/** Of all jobs in hand together, up to one job more: their texts, tokens and results are a small multiple of it. */
const MAX_CHARACTERS = 64 * 1024 * 1024;
