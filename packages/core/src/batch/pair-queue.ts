import type { Cost } from "./cost.ts";
import { LengthBuckets } from "./length-buckets.ts";
import { planBatch, rowsOf, type BatchSize } from "./plan.ts";

/** Something that waits for its forward pass. */
export interface WaitingPair {
  /** Tokens of the pair, special tokens included. */
  readonly tokens: number;
  /** 0 is the most urgent lane. */
  readonly lane: number;
  /** Milliseconds since 1970. */
  readonly deadline?: number | undefined;
  /** True once nobody wants the score any more; such a pair is dropped instead of scored. */
  isAbandoned(): boolean;
}

export interface TakeOptions extends BatchSize {
  readonly cost: Cost;
  /** Largest share of the batch that may be padding, 0 … 1. */
  readonly maxPadding: number;
  /** Milliseconds since 1970. */
  readonly now: number;
}

/**
 * The pairs that wait for a device, and whose turn it is. Pure: no clock, no I/O.
 *
 * - The urgent lanes, 0 to {@link LAST_URGENT_LANE}, go alone: their batches are not filled up with pairs of other lanes,
 *   which would make them take longer.
 * - The more urgent lane goes first, but after {@link OTHERS_TURN} batches in a row that passed over the
 *   oldest pair it is that pair's turn, whatever its lane, so that no lane starves.
 * - Within a lane the batch is the most efficient one (`plan.ts`). Pairs of other lanes fill it up where they fit
 *   without making its rows longer.
 * - A pair whose deadline comes within {@link HORIZON_MS} is in the next batch of its lane, the nearest deadline before
 *   all, and the batch is planned around it.
 * - A pair that has seen {@link MAX_AGE} batches go by is in the next batch of its lane. Where deadlines press too, the two
 *   take turns, so within a lane a pair waits at most MAX_AGE batches and two for each pair that is older.
 *
 * Nothing ever waits for a fuller batch: whoever asks gets one while there is a pair.
 */
export class PairQueue<P extends WaitingPair> {
  readonly #lanes: LengthBuckets<P>[] = [];
  #batches = 0;
  /** Batches in a row that left the oldest pair's lane waiting. */
  #passedOver = 0;
  /** Lanes whose last batch was a deadline's. */
  readonly #hurried = new Set<number>();

  /** Waiting pairs. */
  get size(): number {
    return this.#lanes.reduce((sum, lane) => sum + lane.size, 0);
  }

  /** Waiting tokens, without padding. */
  get tokens(): number {
    return this.#lanes.reduce((sum, lane) => sum + lane.tokens, 0);
  }

  /** The most urgent lane of which something waits; Infinity if nothing does. */
  get firstLane(): number {
    const first = this.#lanes.findIndex((lane) => lane.size > 0);
    return first < 0 ? Infinity : first;
  }

  add(pair: P): void {
    while (this.#lanes.length <= pair.lane) this.#lanes.push(new LengthBuckets());
    this.#lanes[pair.lane]!.add(pair, this.#batches);
  }

  /** Drops and returns the pairs that nobody wants any more. */
  dropAbandoned(): P[] {
    return this.#lanes.flatMap((lane) => lane.dropAbandoned());
  }

  /** Removes and returns the next batch, shortest pair first; empty if nothing waits. */
  take(options: TakeOptions): P[] {
    const lane = this.#laneOnTurn();
    if (lane === undefined) return [];
    const own = this.#lanes[lane]!;
    const oldest = own.oldest()!;
    const isDue = this.#batches - oldest.since >= MAX_AGE;
    const first = own.mostPressing();
    const until = options.now + HORIZON_MS;
    const isPressed = first !== undefined && first.deadline <= until;
    const isHurried = isPressed && !(isDue && this.#hurried.has(lane));
    if (isHurried) this.#hurried.add(lane);
    else this.#hurried.delete(lane);
    const anchor = isHurried ? first.tokens : isDue ? oldest.tokens : undefined;
    const plan = planBatch(own.counts(), { ...options, anchor });
    const batch: P[] = [];
    const shortestFirst = plan.toSorted((a, b) => a.tokens - b.tokens);
    own.moveTo(batch, shortestFirst, isHurried ? until : undefined);
    this.#batches++;
    if (lane <= LAST_URGENT_LANE) return batch;
    const pairs = batch.length;
    for (const other of this.#lanes) if (other !== own) fillUp(batch, other, options);
    return batch.length === pairs ? batch : batch.sort((a, b) => a.tokens - b.tokens);
  }

  #laneOnTurn(): number | undefined {
    const first = this.firstLane;
    if (first === Infinity) return undefined;
    let oldest = first;
    for (const [index, lane] of this.#lanes.entries()) {
      const since = lane.oldest()?.since ?? Infinity;
      if (since < this.#lanes[oldest]!.oldest()!.since) oldest = index;
    }
    this.#passedOver = oldest === first ? 0 : this.#passedOver + 1;
    if (this.#passedOver <= OTHERS_TURN) return first;
    this.#passedOver = 0;
    return oldest;
  }
}

export const LAST_URGENT_LANE = 2;
/** How many batches may pass a pair over; so many that pairs of its length may arrive meanwhile. */
export const MAX_AGE = 16;
/**
 * A later deadline needs no hurry: within a second a worker gets through three times what it has in hand
 * (`apps/worker/src/intake.ts`) in any case, and batches are most efficient when they need not mind deadlines.
 */
export const HORIZON_MS = 1_000;
/** So many batches in a row may pass over the oldest pair. */
export const OTHERS_TURN = 7;

/** Adds pairs that are no longer than the batch is, while budget and padding allow. */
function fillUp<P extends WaitingPair>(
  batch: P[],
  others: LengthBuckets<P>,
  options: TakeOptions,
): void {
  const { maxPadding } = options;
  let [length, real] = [0, 0];
  for (const { tokens } of batch) {
    length = Math.max(length, tokens);
    real += tokens;
  }
  const room = rowsOf(options, length);
  for (const { tokens, pairs } of others.counts().toReversed()) {
    if (tokens > length) continue;
    let rows = Math.min(pairs, room - batch.length);
    while (rows > 0 && 1 - (real + rows * tokens) / ((batch.length + rows) * length) > maxPadding) {
      rows--;
    }
    if (rows <= 0) return;
    others.moveTo(batch, [{ tokens, rows }]);
    real += rows * tokens;
  }
}
