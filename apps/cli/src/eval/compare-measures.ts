import { setImmediate as turn } from "node:timers/promises";
import {
  compareRuns,
  evaluateRun,
  type Judgments,
  type Measure,
  parseMeasure,
  type ReportData,
  type Run,
} from "@rankfleet/eval";
import { count } from "../print.ts";

type Rows = ReportData["rows"];

/** In `--json` whatever `--measures` says: who reads it need not know what was asked for. */
const ALWAYS = ["ndcg@10", "recall@100"].map(parseMeasure);

export interface ComparedRuns {
  /** What is compared with: the first stage, or another run. */
  readonly firstStage: Run;
  readonly reranked: Run;
  /** Reranked by the model alone, without the first stage's scores. */
  readonly alone: Run | undefined;
}

/**
 * Before and after by each measure.
 *
 * @returns `asked` for those to be shown, and `rows` for all, these first.
 * @throws the signal's reason.
 */
export async function compareMeasures(
  runs: ComparedRuns,
  judgments: Judgments,
  asked: readonly Measure[],
  { signal, say }: { readonly signal: AbortSignal; readonly say?: (line: string) => void },
): Promise<{ readonly rows: Rows; readonly asked: Rows }> {
  const others = ALWAYS.filter(({ name }) => !asked.some((measure) => measure.name === name));
  const measures = [...asked, ...others];
  const before = evaluateRun(runs.firstStage, judgments, measures);
  const after = evaluateRun(runs.reranked, judgments, measures);
  const alone = runs.alone && evaluateRun(runs.alone, judgments, measures);
  const { byQuery } = [...before.values()][0]!;
  say?.(`comparing the runs on ${count(byQuery.size)} queries with a relevant document`);
  const rows: Rows[number][] = [];
  for (const { name } of measures) {
    // Ten thousand samples of ten thousand queries take seconds, in which Ctrl-C is to be heard.
    await turn();
    signal.throwIfAborted();
    rows.push({
      measure: name,
      firstStage: before.get(name)!,
      reranked: after.get(name)!,
      alone: alone?.get(name),
      comparison: compareRuns(before.get(name)!, after.get(name)!),
    });
  }
  return { rows, asked: rows.slice(0, asked.length) };
}
