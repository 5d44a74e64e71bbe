import type { Ratios, SuiteReport } from "./suite.ts";

type Ratio = keyof Ratios;

export interface WorstRatios {
  readonly ratios: Ratios;
  /** The suite that each ratio is of: where to look for the runs behind it. */
  readonly ratioSuites: Partial<Record<Ratio, string>>;
}

/** Where several suites give the same ratio, the worst of them, and whose that is. */
export function worstRatios(
  suites: Readonly<Record<string, Pick<SuiteReport, "ratios">>>,
): WorstRatios {
  const [ratios, ratioSuites]: [Partial<Record<Ratio, number>>, Partial<Record<Ratio, string>>] = [
    {},
    {},
  ];
  for (const [suite, { ratios: own }] of Object.entries(suites)) {
    for (const [name, value] of Object.entries(own) as [Ratio, number][]) {
      const pick = SMALLER_IS_BETTER.has(name) ? Math.max : Math.min;
      const worst = pick(ratios[name] ?? value, value);
      if (Object.is(worst, ratios[name])) continue;
      ratios[name] = value;
      ratioSuites[name] = suite;
    }
  }
  return { ratios, ratioSuites };
}

const SMALLER_IS_BETTER: ReadonlySet<Ratio> = new Set<Ratio>([
  "interactiveP95OverBatch",
  "tenantP95OverAlone",
  "idleAddedP50Ms",
  "repeatCost",
  "rssGrowth",
]);
