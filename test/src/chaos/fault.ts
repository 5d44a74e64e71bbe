import type { RerankRequest } from "@rankfleet/sdk";
import type { FaultReport, History, Logits } from "./history.ts";

/** One thing that goes wrong, and what must be seen when it does. */
export interface Fault {
  readonly name: string;
  readonly what: string;
  run(scale: Scale): Promise<FaultReport>;
}

export interface Scale {
  /** A few seconds instead of minutes. */
  readonly isShort: boolean;
  readonly say: (line: string) => void;
}

/** A report that is fine if nothing was lost, nothing came twice, scores are equal, and `isShown` holds. */
export function judge(
  fault: string,
  history: History,
  expected: readonly Logits[],
  more: {
    readonly isShown: boolean;
    readonly takeoverMedianSeconds?: number | null;
    readonly facts?: FaultReport["facts"];
  },
): FaultReport {
  const counts = history.report(expected);
  const { lost, secondEffects, unequalScores } = counts;
  const failed = history.failures.size;
  return {
    fault,
    ...counts,
    takeoverMedianSeconds: more.takeoverMedianSeconds ?? null,
    ok: more.isShown && lost + secondEffects + unequalScores + failed === 0,
    facts: {
      ...(failed === 0 ? {} : { failed, firstFailure: [...history.failures.values()][0]! }),
      ...more.facts,
    },
  };
}

export type Requests = readonly RerankRequest[];
