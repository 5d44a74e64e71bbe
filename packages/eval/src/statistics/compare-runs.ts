import { xoroshiro128plus } from "pure-rand/generator/xoroshiro128plus";
import { uniformInt } from "pure-rand/distribution/uniformInt";
import type { RandomGenerator } from "pure-rand/types/RandomGenerator";
import type { Evaluation } from "../metrics/evaluate-run.ts";

/** How one run compares with another on one measure, query by query. */
export interface Comparison {
  /** Mean of (second − first). */
  readonly difference: number;
  /** 95 % of resampled query sets have a mean difference in here. */
  readonly interval: readonly [low: number, high: number];
  /** Two-sided: how often chance alone makes a difference this large. */
  readonly pValue: number;
  readonly wins: number;
  readonly losses: number;
  readonly ties: number;
}

export interface ResamplingOptions {
  /** Default 10,000. */
  readonly samples?: number;
  /** The same seed, the same figures. Default 1. */
  readonly seed?: number;
}

/**
 * Paired percentile bootstrap (Efron & Tibshirani 1993; Sakai, SIGIR 2006) and paired randomisation
 * test (Fisher; Smucker, Allan & Carterette, CIKM 2007, who recommend it for IR over the t-test's
 * assumptions), both over the queries.
 *
 * @throws RangeError if the two were not evaluated on the same queries.
 */
export function compareRuns(
  first: Evaluation,
  second: Evaluation,
  options: ResamplingOptions = {},
): Comparison {
  const differences = differencesOf(first, second);
  return {
    difference: mean(differences),
    interval: bootstrapInterval(differences, options),
    pValue: randomizationTest(differences, options),
    wins: differences.filter((difference) => difference > EPSILON).length,
    losses: differences.filter((difference) => difference < -EPSILON).length,
    ties: differences.filter((difference) => Math.abs(difference) <= EPSILON).length,
  };
}

/**
 * Second − first, query by query.
 *
 * @throws RangeError if the two were not evaluated on the same queries.
 */
export function differencesOf(first: Evaluation, second: Evaluation): number[] {
  return [...first.byQuery].map(([query, value]) => {
    const other = second.byQuery.get(query);
    if (other === undefined) throw new RangeError(`query "${query}" is in one run only`);
    return other - value;
  });
}

/** The middle 95 % of the means of `values` resampled with replacement. */
export function bootstrapInterval(
  values: readonly number[],
  { samples = 10_000, seed = 1 }: ResamplingOptions = {},
): [number, number] {
  if (values.length === 0) return [Number.NaN, Number.NaN];
  if (values.every((value) => value === values[0])) return [values[0]!, values[0]!];
  const random = xoroshiro128plus(seed);
  const means = Float64Array.from({ length: samples }, () => {
    let sum = 0;
    for (let i = 0; i < values.length; i++)
      sum += values[uniformInt(random, 0, values.length - 1)]!;
    return sum / values.length;
  }).sort();
  return [means[Math.floor(0.025 * samples)]!, means[Math.ceil(0.975 * samples) - 1]!];
}

/**
 * If it made no difference which run a value came from, each difference's sign would be a coin's.
 * The share of random signs that give a mean at least as far from 0, the observed one counted in.
 */
function randomizationTest(
  differences: readonly number[],
  { samples = 10_000, seed = 1 }: ResamplingOptions,
): number {
  if (differences.every((difference) => difference === 0)) return 1;
  const observed = Math.abs(mean(differences)) - EPSILON;
  const random = xoroshiro128plus(seed + 1);
  let asFar = 1;
  for (let sample = 0; sample < samples; sample++) {
    let sum = 0;
    for (const difference of differences) sum += isHeads(random) ? difference : -difference;
    if (Math.abs(sum / differences.length) >= observed) asFar++;
  }
  return asFar / (samples + 1);
}

const EPSILON = 1e-9;

function isHeads(random: RandomGenerator): boolean {
  return random.next() < 0;
}

function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}
