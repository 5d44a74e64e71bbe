import { basename } from "node:path";
import { type DepthAdvice, describeAdvice, doesHelp, type ReportData } from "@rankfleet/eval";
import { count, table } from "../print.ts";
import type { ScoredRun } from "./score-run.ts";

/** What eval has found. */
export interface Findings {
  readonly rows: ReportData["rows"];
  /** The same for another run in place of the first stage, if one was given. */
  readonly against: { readonly run: string; readonly rows: ReportData["rows"] } | undefined;
  readonly advice: DepthAdvice;
  readonly cascade: DepthAdvice | undefined;
  readonly scored: ScoredRun;
  readonly depth: number;
}

/** Everything that was measured, for `--json`. */
export function toJson({ rows, against, advice, cascade, scored, depth }: Findings): object {
  const means = (of: "firstStage" | "reranked" | "alone", from = rows): object =>
    Object.fromEntries(from.map((row) => [row.measure, row[of]?.mean]));
  const comparisons = (from: ReportData["rows"]): object =>
    Object.fromEntries(from.map((row) => [row.measure, row.comparison]));
  return {
    queries: rows[0]!.firstStage.byQuery.size,
    depth,
    model: scored.model,
    firstStage: means("firstStage"),
    reranked: means("reranked"),
    // Whether the first stage's scores went into the ranking; then also what the model does without.
    usesFirstStageScores: scored.fused !== undefined,
    ...(scored.fused === undefined ? {} : { rerankedAlone: means("alone") }),
    comparison: comparisons(rows),
    ...(against === undefined
      ? {}
      : {
          against: {
            run: against.run,
            ...means("firstStage", against.rows),
            comparison: comparisons(against.rows),
          },
        }),
    pairs: scored.pairs,
    cachedPairs: scored.cached,
    failed: scored.failed,
    seconds: scored.seconds,
    pairsPerSecond: scored.pairsPerSecond,
    advice,
    // What the SDK's candidate guard should be, if it should rerank: new RerankClient({ warnAboveDocuments }).
    ...(doesHelp(advice) ? { warnAboveDocuments: advice.best } : {}),
    ...(cascade === undefined ? {} : { cascade: { ...cascade, keep: cascade.cheapest } }),
  };
}

/** The same for a terminal. */
export function show({ rows, against, advice, cascade, scored }: Findings): string {
  const depths = advice.points.map(({ depth, value, recall, pairs, seconds }) => [
    depth,
    value.toFixed(4),
    recall.toFixed(4),
    count(pairs),
    seconds === undefined ? "" : seconds.toFixed(1),
  ]);
  return [
    comparison("first stage", rows),
    "",
    ...(against === undefined ? [] : [comparison(basename(against.run), against.rows), ""]),
    table(["depth", advice.measure, advice.recallMeasure, "pairs", "seconds"], depths),
    ...costNote(scored),
    "",
    describeAdvice(advice),
    ...(doesHelp(advice)
      ? [`Guard for the SDK: new RerankClient({ warnAboveDocuments: ${advice.best} })`]
      : []),
    ...(cascade === undefined
      ? []
      : [`Cascade: keep ${cascade.cheapest} for the second model. ${describeAdvice(cascade)}`]),
  ].join("\n");
}

function comparison(before: string, rows: ReportData["rows"]): string {
  const signed = (value: number): string => `${value < 0 ? "−" : "+"}${Math.abs(value).toFixed(4)}`;
  const isFused = rows.some(({ alone }) => alone !== undefined);
  const head = [
    "measure",
    before,
    "reranked",
    ...(isFused ? ["model alone"] : []),
    "difference",
    "95 % interval",
    "p",
    "better/worse/same",
  ];
  const lines = rows.map((row) => [
    row.measure,
    row.firstStage.mean.toFixed(4),
    row.reranked.mean.toFixed(4),
    ...(isFused ? [row.alone!.mean.toFixed(4)] : []),
    signed(row.comparison.difference),
    row.comparison.interval.map(signed).join(" … "),
    row.comparison.pValue.toFixed(4),
    `${row.comparison.wins}/${row.comparison.losses}/${row.comparison.ties}`,
  ]);
  return table(head, lines);
}

/** Where the seconds of the table are not what all of its pairs took. */
function costNote({ pairs, cached }: Pick<ScoredRun, "pairs" | "cached">): string[] {
  if (cached === 0) return [];
  if (cached < pairs) {
    return [
      `${count(cached)} of ${count(pairs)} pairs came from the fleet's score cache; seconds are at the rate of the others`,
    ];
  }
  return [
    "All pairs came from the fleet's score cache, so what scoring costs was not measured; without --redis it is",
  ];
}
