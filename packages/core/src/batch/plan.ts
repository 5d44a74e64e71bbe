import { rowMs, type Cost } from "./cost.ts";

/** Waiting pairs of one exact length. */
export interface LengthCount {
  readonly tokens: number;
  readonly pairs: number;
}

/** How many pairs of each length make the next batch. */
export type Plan = readonly { readonly tokens: number; readonly rows: number }[];

/** How large a batch may be. A single pair that is larger still goes, alone. */
export interface BatchSize {
  /** Most padded tokens. */
  readonly maxTokens: number;
  /** Most rows · length². Default: no bound. */
  readonly maxSquares?: number | undefined;
}

/** Rows of this length that such a batch has room for; at least one. */
export function rowsOf({ maxTokens, maxSquares = Infinity }: BatchSize, length: number): number {
  return Math.max(1, Math.floor(Math.min(maxTokens, maxSquares / length) / length));
}

export interface PlanOptions extends BatchSize {
  readonly cost: Cost;
  /** Largest share of a batch that may be padding, 0 … 1. */
  readonly maxPadding: number;
  /** A length of which one pair must be in the batch. */
  readonly anchor?: number | undefined;
}

/**
 * The batch with the least predicted time for what it gets done. Pure.
 *
 * A batch is rectangular, so it costs its longest length for every row. What it gets done is what its
 * pairs would cost without padding and without a launch, hence
 *
 *     efficiency = Σ row(lengthᵢ) ÷ (fixed + rows · row(longest))
 *
 * For each length as the longest, the best companions are the nearest shorter ones, so there is only the
 * question how far down to go, and all answers are tried: O(lengths × batch).
 *
 * @param waiting By ascending length, each at least one pair.
 * @returns Nothing only if nothing waits.
 */
export function planBatch(waiting: readonly LengthCount[], options: PlanOptions): Plan {
  const { cost, anchor, maxPadding } = options;
  const others = anchor === undefined ? waiting : withoutOne(waiting, anchor);
  let best: { efficiency: number; plan: Plan } | undefined;
  const first = anchor === undefined ? [] : [{ tokens: anchor, rows: 1 }];
  for (let top = waiting.length - 1; top >= 0; top--) {
    const length = waiting[top]!.tokens;
    if (anchor !== undefined && length < anchor) break;
    const room = rowsOf(options, length);
    const plan: { tokens: number; rows: number }[] = [...first];
    let [rows, real, done] = anchor === undefined ? [0, 0, 0] : [1, anchor, worth(cost, anchor)];
    const full = worth(cost, length);
    const consider = (): void => {
      const isTooPadded = 1 - real / (rows * length) > maxPadding + 1e-9;
      // On equal terms the larger batch: fewer messages for the same work.
      const efficiency = done / (cost.fixed + rows * full);
      if (!isTooPadded && efficiency >= (best?.efficiency ?? 0) - 1e-9) {
        best = { efficiency, plan: [...plan] };
      }
    };
    if (length === anchor) consider();
    for (let i = top; i >= 0 && rows < room; i--) {
      const { tokens, pairs } = others[i]!;
      const fits = Math.min(
        pairs,
        room - rows,
        withinPadding(rows, real, length, tokens, maxPadding),
      );
      if (fits > 0) {
        plan.push({ tokens, rows: fits });
        rows += fits;
        real += fits * tokens;
        done += fits * worth(cost, tokens);
        consider();
      }
      if (fits < pairs) break;
    }
  }
  return best?.plan ?? [];
}

/** What a row gets done; where the cost is unknown or nothing, one token is worth as much as another. */
function worth(cost: Cost, tokens: number): number {
  return rowMs(cost, tokens) || tokens * 1e-9;
}

function withoutOne(waiting: readonly LengthCount[], anchor: number): LengthCount[] {
  return waiting.map(({ tokens, pairs }) => ({
    tokens,
    pairs: tokens === anchor ? pairs - 1 : pairs,
  }));
}

/** How many more rows of `tokens` keep the padding of rows × length within its share. */
function withinPadding(
  rows: number,
  real: number,
  length: number,
  tokens: number,
  maxPadding: number,
): number {
  const allowed = (1 - maxPadding) * length;
  if (tokens >= allowed) return Infinity;
  // (real + n · tokens) ≥ (rows + n) · allowed
  return Math.max(0, Math.floor((real - rows * allowed) / (allowed - tokens) + 1e-9));
}
