/**
 * What a forward pass costs, learnt from the device at hand:
 *
 *     ms = a + b · rows · length + c · rows · length²
 *
 * a: launching a batch; b: the matrix products, linear in padded tokens; c: attention, quadratic in length.
 */
export interface Cost {
  /** ms a batch. */
  readonly fixed: number;
  /** ms a padded token. */
  readonly perToken: number;
  /** ms a row and squared token. */
  readonly perSquare: number;
}

/** One forward pass that was timed. */
export interface CostSample {
  readonly rows: number;
  readonly length: number;
  readonly ms: number;
}

/** Predicted milliseconds of a batch of `rows` rows padded to `length` tokens. */
export function predictMs(cost: Cost, rows: number, length: number): number {
  return cost.fixed + rows * rowMs(cost, length);
}

/** What one row of this length adds to a batch. */
export function rowMs({ perToken, perSquare }: Cost, length: number): number {
  return length * (perToken + perSquare * length);
}

/**
 * Least squares over relative errors, with no coefficient below 0, and older passes counting less: a
 * machine that gets hotter or busier is believed after some hundred batches.
 */
export class CostModel {
  /** Normal equations, upper triangle of XᵀX and Xᵀ·1 for the features (1, rows·length, rows·length²) ÷ ms. */
  readonly #xx = new Float64Array(9);
  readonly #xy = new Float64Array(3);
  readonly #memory: number;
  #cost: Cost;
  #sinceFit = 0;

  /** @param memory How many batches the model remembers, roughly. */
  constructor(samples: readonly CostSample[], memory: number = 500) {
    this.#memory = memory;
    for (const sample of samples) this.#add(sample, 1);
    this.#cost = this.#fit();
  }

  get cost(): Cost {
    return this.#cost;
  }

  /**
   * Learns from a real batch. One that took many times what was expected, or next to nothing, is an accident of
   * the machine and counts as a moderate surprise: errors are relative, so a single pass of 0.01 ms would
   * outweigh hundreds. A device that really has changed is still believed, step by step.
   */
  observe({ rows, length, ms }: CostSample): void {
    if (!(ms > 0)) return;
    const expected = predictMs(this.#cost, rows, length);
    const believed = Math.min(SURPRISE * expected, Math.max(expected / SURPRISE, ms));
    this.#add({ rows, length, ms: expected > 0 ? believed : ms }, 1 - 1 / this.#memory);
    if (++this.#sinceFit < FIT_EVERY) return;
    this.#sinceFit = 0;
    this.#cost = this.#fit();
  }

  #add({ rows, length, ms }: CostSample, decay: number): void {
    const tokens = rows * length;
    const x = [1 / ms, tokens / ms, (tokens * length) / ms];
    for (let i = 0; i < 3; i++) {
      this.#xy[i] = decay * this.#xy[i]! + x[i]!;
      for (let j = 0; j < 3; j++)
        this.#xx[3 * i + j] = decay * this.#xx[3 * i + j]! + x[i]! * x[j]!;
    }
  }

  /** Non-negative least squares; with three features every choice of them can be tried. */
  #fit(): Cost {
    let best: { error: number; beta: readonly number[] } = { error: Infinity, beta: [0, 0, 0] };
    for (let mask = 1; mask < 8; mask++) {
      const chosen = [0, 1, 2].filter((i) => mask & (1 << i));
      const beta = this.#solve(chosen);
      if (beta === undefined || beta.some((value) => value < 0)) continue;
      // ‖Xβ − 1‖² without the constant term.
      let error = 0;
      for (let i = 0; i < 3; i++) {
        error -= 2 * beta[i]! * this.#xy[i]!;
        for (let j = 0; j < 3; j++) error += beta[i]! * beta[j]! * this.#xx[3 * i + j]!;
      }
      if (error < best.error - 1e-12) best = { error, beta };
    }
    const [fixed, perToken, perSquare] = best.beta;
    return { fixed: fixed!, perToken: perToken!, perSquare: perSquare! };
  }

  /** Gaussian elimination on the chosen features; undefined if they cannot be told apart. */
  #solve(chosen: readonly number[]): number[] | undefined {
    // Scaled to a correlation matrix: a batch's launch and its squared tokens are many magnitudes apart.
    const scale = chosen.map((i) => Math.sqrt(this.#xx[4 * i]!) || 1);
    const rows = chosen.map((i, row) => [
      ...chosen.map((j, column) => this.#xx[3 * i + j]! / (scale[row]! * scale[column]!)),
      this.#xy[i]! / scale[row]!,
    ]);
    for (const [pivot, row] of rows.entries()) {
      if (!(Math.abs(row[pivot]!) > 1e-9)) return undefined;
      for (const other of rows) {
        if (other === row) continue;
        const factor = other[pivot]! / row[pivot]!;
        for (let k = pivot; k < row.length; k++) other[k]! -= factor * row[k]!;
      }
    }
    const beta = [0, 0, 0];
    chosen.forEach((feature, i) => (beta[feature] = rows[i]!.at(-1)! / rows[i]![i]! / scale[i]!));
    return beta;
  }
}

const SURPRISE = 3;
/** Batches between two fits: a fit is microseconds, but its news is little. */
const FIT_EVERY = 32;

/**
 * The smallest batch, in padded tokens, that runs at 95 % of the best measured tokens per second of its
 * length; over all lengths, the median. On a CPU that is often a row or two, on a GPU thousands of tokens.
 */
export function kneeTokens(samples: readonly CostSample[], share: number = 0.95): number {
  const byLength = new Map<number, CostSample[]>();
  for (const sample of samples) {
    byLength.set(sample.length, [...(byLength.get(sample.length) ?? []), sample]);
  }
  const knees: number[] = [];
  for (const group of byLength.values()) {
    const speed = ({ rows, length, ms }: CostSample): number => (rows * length) / ms;
    const peak = Math.max(...group.map(speed));
    const enough = group.filter((sample) => speed(sample) >= share * peak);
    knees.push(Math.min(...enough.map(({ rows, length }) => rows * length)));
  }
  return knees.toSorted((a, b) => a - b)[knees.length >> 1] ?? 0;
}

/**
 * The largest rows · length² of a pass before the device falls off. An attention's matrix has as many numbers for each
 * head, and some providers take several times as long for a row once that outgrows a buffer: WebGPU on an H200 takes 21 ms for 16 rows
 * of 506 tokens through MiniLM-L6 in fp16, and 428 ms for 64 (2026-11).
 *
 * @returns Infinity if no pass fell off.
 */
export function squaresBeforeFall(samples: readonly CostSample[]): number {
  const squares = ({ rows, length }: CostSample): number => rows * length * length;
  const fell = samples.filter((sample) => {
    const fewer = samples.filter(
      ({ rows, length }) => length === sample.length && rows < sample.rows,
    );
    return fewer.some(({ rows, ms }) => sample.ms / sample.rows > FALL * (ms / rows));
  });
  const first = Math.min(...fell.map(squares));
  if (first === Infinity) return Infinity;
  return Math.max(...samples.map(squares).filter((each) => each < first));
}

/** A row that takes so many times as long as in a smaller batch has met more than noise. */
const FALL = 2;
