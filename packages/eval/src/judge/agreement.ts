import type { Judgments } from "../qrels.ts";

export interface Agreement {
  /** Pairs that both have judged. */
  readonly pairs: number;
  /** Share of equal grades. */
  readonly observed: number;
  /** Cohen's κ over the grades; NaN where both always give one and the same grade. */
  readonly kappa: number;
  /** Cohen's κ of relevant (grade ≥ 1) against not. */
  readonly binaryKappa: number;
}

/** Cohen's κ (1960): agreement beyond what the two assessors' habits alone would give. */
export function agreement(first: Judgments, second: Judgments): Agreement {
  const pairs: [number, number][] = [];
  for (const [query, grades] of first) {
    for (const [document, grade] of grades) {
      const other = second.get(query)?.get(document);
      if (other !== undefined) pairs.push([grade, other]);
    }
  }
  return {
    pairs: pairs.length,
    observed: share(pairs, ([a, b]) => a === b),
    kappa: kappa(pairs),
    binaryKappa: kappa(pairs.map(([a, b]) => [Number(a > 0), Number(b > 0)])),
  };
}

function kappa(pairs: readonly (readonly [number, number])[]): number {
  const observed = share(pairs, ([a, b]) => a === b);
  const expected = [...new Set(pairs.flat())].reduce(
    (sum, grade) => sum + share(pairs, ([a]) => a === grade) * share(pairs, ([, b]) => b === grade),
    0,
  );
  return (observed - expected) / (1 - expected);
}

function share<Item>(items: readonly Item[], holds: (item: Item) => boolean): number {
  return items.filter(holds).length / items.length;
}
