import { type DepthAdvice, describeAdvice, doesHelp, type ReportData } from "@rankfleet/eval";
import { count, table } from "../print.ts";
import type { ScoredRun } from "./score-run.ts";

/** Everything that was measured, for `--json`. */
export function toJson(
  rows: ReportData["rows"],
  advice: DepthAdvice,
  cascade: DepthAdvice | undefined,
  scored: ScoredRun,
  depth: number,
): object {
  const means = (of: "firstStage" | "reranked" | "alone"): object =>
    Object.fromEntries(rows.map((row) => [row.measure, row[of]?.mean]));
  return {
    queries: rows[0]!.firstStage.byQuery.size,
    depth: depth,
    model: scored.model,
    firstStage: means("firstStage"),
    reranked: means("reranked"),
    // Whether the first stage's scores went into the ranking; then also what the model does without.
    usesFirstStageScores: scored.fused !== undefined,
    ...(scored.fused === undefined ? {} : { rerankedAlone: means("alone") }),
    comparison: Object.fromEntries(rows.map((row) => [row.measure, row.comparison])),
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
export function show(
  rows: ReportData["rows"],
  advice: DepthAdvice,
  cascade: DepthAdvice | undefined,
  scored: Pick<ScoredRun, "pairs" | "cached">,
): string {
  const signed = (value: number): string => `${value < 0 ? "−" : "+"}${Math.abs(value).toFixed(4)}`;
  const isFused = rows.some(({ alone }) => alone !== undefined);
  const lines = rows.map(({ measure, firstStage, reranked, alone, comparison }) => [
    measure,
    firstStage.mean.toFixed(4),
    reranked.mean.toFixed(4),
    ...(isFused ? [alone!.mean.toFixed(4)] : []),
    signed(comparison.difference),
    comparison.interval.map(signed).join(" … "),
    comparison.pValue.toFixed(4),
    `${comparison.wins}/${comparison.losses}/${comparison.ties}`,
  ]);
  const head = [
    "measure",
    "first stage",
    "reranked",
    ...(isFused ? ["model alone"] : []),
    "difference",
    "95 % interval",
    "p",
    "better/worse/same",
  ];
  const depths = advice.points.map(({ depth, value, recall, pairs, seconds }) => [
    depth,
    value.toFixed(4),
    recall.toFixed(4),
    count(pairs),
    seconds === undefined ? "" : seconds.toFixed(1),
  ]);
  return [
    table(head, lines),
    "",
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
