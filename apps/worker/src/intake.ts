/** What the intake must know of the engine that it feeds. Read anew for each job, since speed changes. */
export interface Appetite {
  /** Tokens of one full batch on every device. */
  readonly tokensPerRound: number;
  /** Padded tokens that the devices get through in a millisecond. */
  readonly tokensPerMs: number;
  /** Of all pairs that wait for a device. */
  readonly waitingTokens: number;
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
 * Redis to its pairs, and the more pairs there are to choose from, the less is padding. (Box, mixed lengths, batches of
 * 2,048 tokens: 97.0 % of the tokens are real with 300 ms, 97.6 % with 450, 98.0 % with 600.) And no more: what this
 * worker holds no other can take.
 *
 * Work is what still waits. Where lengths differ a job is held for its last pairs, whose lengths are rare, when
 * most of it has been scored (box model, mixed lengths: less than half of what is in hand waits), so of such jobs
 * there are more, up to twice as many.
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
  /** Share of the tokens in hand that still wait while hands are full. */
  #waitingShare = 1;

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
    const waitingOfJob = this.#tokensPerJob * Math.max(LEAST_WAITING_SHARE, this.#waitingShare);
    const byTokens = Math.ceil(tokens / Math.max(1, waitingOfJob));
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
    this.#learnWaitingShare();
    this.#jobsInHand--;
    this.#charactersInHand -= characters;
    return this.jobs;
  }

  #learnWaitingShare(): void {
    if (this.#tokensPerJob === undefined || this.#jobsInHand < this.jobs) return;
    const inHand = Math.max(1, this.#jobsInHand * this.#tokensPerJob);
    const share = Math.min(1, this.#appetite.waitingTokens / inHand);
    this.#waitingShare += 0.05 * (share - this.#waitingShare);
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
const IN_HAND_MS = 450;
const LEAST_WAITING_SHARE = 0.5;
const MIN_JOBS = 4;
const MAX_JOBS = 512;
/**
 * More than any device measured here gets through in IN_HAND_MS (an H200: 11,400). What is in hand for longer than between two
 * collections of V8's young generation is copied by them: with 51,200 pairs, and twice as many in flight, a worker whose device
 * costs nothing got a sixth less done.
 */
const MAX_PAIRS = 12_800;
/** Of all jobs in hand together, up to one job more: their texts, tokens and results are a small multiple of it. */
const MAX_CHARACTERS = 64 * 1024 * 1024;
