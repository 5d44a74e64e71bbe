import type { Dtype, ModelName } from "./models/model-for.ts";

/** What the command line says. */
export interface BenchOptions {
  readonly model: ModelName;
  readonly dtype: Dtype;
  /** Inference threads of every contestant. */
  readonly threads: number;
  readonly rounds: number;
  /** About how long the limit's round takes; sets the number of pairs. */
  readonly seconds: number;
  /** Contestants that take long: BullMQ with transformers.js, transformers.js alone. */
  readonly withPeers: boolean;
  /** What passes run on, as the worker takes it. */
  readonly device: string;
  /** Models with random weights that the suite `gpu` measures. */
  readonly gpuModels: readonly Exclude<ModelName, "box">[];
  /** Tokens of a pair in the suite `gpu`. */
  readonly lengths: readonly number[];
  /** What the card makes of matrix products with its vendor's own library, in TFLOP/s; measured elsewhere. */
  readonly matmulTeraflops: number | undefined;
}

/** Ratios of the table; each suite gives those that it measures. */
export type Ratios = Partial<
  Record<
    | "endToEndOverLimit"
    | "overNaivePeer"
    | "overBestPolicy"
    | "realOverPadded"
    | "scaling16"
    | "simulatedPairsPerSecond"
    | "interactiveP95OverBatch"
    | "tenantP95OverAlone"
    | "idleAddedP50Ms"
    | "repeatCost"
    | "rssGrowth",
    number
  >
>;

export interface SuiteReport {
  readonly what: string;
  /** For the terminal: the first row is the head. */
  readonly table: readonly (readonly (string | number)[])[];
  /** Lines below the table. */
  readonly notes?: readonly string[];
  readonly ratios: Ratios;
  /** Everything measured, round by round. */
  readonly runs: unknown;
}

export type Suite = (options: BenchOptions) => Promise<SuiteReport>;

export function median(values: readonly number[]): number {
  return percentile(values, 0.5);
}

/** The smallest value that at least this share of the values does not exceed. */
export function percentile(values: readonly number[], share: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.max(0, Math.ceil(share * sorted.length) - 1)] ?? Number.NaN;
}

export function progress(line: string): void {
  process.stderr.write(`${line}\n`);
}
