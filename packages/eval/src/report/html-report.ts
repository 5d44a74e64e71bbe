import { plotDepth } from "../depth/plot-depth.ts";
import type { DepthAdvice } from "../depth/advise-depth.ts";
import type { CollectionDocument, CollectionQuery } from "../collection.ts";
import type { Evaluation, Run } from "../metrics/evaluate-run.ts";
import { trecOrder } from "../metrics/trec-order.ts";
import type { Judgments } from "../qrels.ts";
import type { Comparison } from "../statistics/compare-runs.ts";

export interface ReportData {
  readonly title: string;
  /** What was run: first stage, model, depth … shown as they are. */
  readonly settings: Readonly<Record<string, string>>;
  /** By measure. */
  readonly rows: readonly {
    readonly measure: string;
    readonly firstStage: Evaluation;
    readonly reranked: Evaluation;
    /** Without the first stage's scores, if the model uses them. */
    readonly alone?: Evaluation | undefined;
    readonly comparison: Comparison;
  }[];
  readonly advice: DepthAdvice | undefined;
  readonly queries: readonly CollectionQuery[];
  readonly documents: ReadonlyMap<string, CollectionDocument>;
  readonly judgments: Judgments;
  readonly firstStage: Run;
  readonly reranked: Run;
}

/** How many queries are shown of those that won most, and of those that lost most. */
const SHOWN = 20;
const RANKS = 5;

/**
 * One page that needs nothing beside itself: the table, the depth plot, and the queries that won and
 * lost most by the first measure, with what stood where before and after.
 */
export function htmlReport(data: ReportData): string {
  const { title, settings, rows, advice } = data;
  const [main] = rows;
  const changes = data.queries
    .filter(({ id }) => main!.firstStage.byQuery.has(id))
    .map((query) => ({
      query,
      before: main!.firstStage.byQuery.get(query.id)!,
      after: main!.reranked.byQuery.get(query.id)!,
    }))
    .toSorted((a, b) => b.after - b.before - (a.after - a.before));
  const wins = changes.filter(({ before, after }) => after > before).slice(0, SHOWN);
  const losses = changes
    .filter(({ before, after }) => after < before)
    .slice(-SHOWN)
    .toReversed();
  return `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>${escape(title)}</title>
<style>${STYLE}</style></head><body>
<h1>${escape(title)}</h1>
<p>${Object.entries(settings)
    .map(([name, value]) => `<b>${escape(name)}</b> ${escape(value)}`)
    .join(" · ")}</p>
<table><thead><tr><th>measure</th><th>first stage</th><th>reranked</th>${rows.some(({ alone }) => alone !== undefined) ? "<th>model alone</th>" : ""}<th>difference (95 %)</th><th>p</th><th>better / worse / same</th></tr></thead><tbody>
${rows.map(measureRow).join("\n")}
</tbody></table>
<p class="note">Means over ${main!.firstStage.byQuery.size} queries with a relevant document. Interval: paired bootstrap; p: paired randomisation test, two-sided.</p>
${advice === undefined ? "" : `<h2>How deep to rerank</h2>${plotDepth(advice)}<p>${escape(describeAdvice(advice))}</p>`}
<h2>Queries that won most (${escape(main!.measure)})</h2>${wins.map((change) => queryBlock(data, change)).join("\n") || "<p>None.</p>"}
<h2>Queries that lost most</h2>${losses.map((change) => queryBlock(data, change)).join("\n") || "<p>None.</p>"}
</body></html>
`;
}

/** The advice in a sentence or two. */
export function describeAdvice(advice: DepthAdvice): string {
  const at = (depth: number): string => {
    const { value, pairs, seconds } = advice.points.find((point) => point.depth === depth)!;
    const time = seconds === undefined ? "" : `, ${seconds.toFixed(1)} s`;
    return `${depth} (${advice.measure} ${value.toFixed(3)}, ${pairs.toLocaleString("en-US")} pairs${time})`;
  };
  const fall =
    advice.recallFallsFrom === undefined
      ? `${advice.recallMeasure} does not fall with depth here`
      : `from ${advice.recallFallsFrom} on ${advice.recallMeasure} is below its peak: scoring that many makes it worse`;
  const { value } = advice.points.find(({ depth }) => depth === advice.best)!;
  const { withoutReranking: without } = advice;
  if (without !== undefined && value <= without) {
    return `Reranking does not help here: at no depth is ${advice.measure} above the first stage's ${without.toFixed(3)}; the least harm at ${at(advice.best)}.`;
  }
  return advice.best === advice.cheapest
    ? `Best depth, and the cheapest within noise of it: ${at(advice.best)}; ${fall}.`
    : `Best depth: ${at(advice.best)}; the cheapest within noise of it: ${at(advice.cheapest)}; ${fall}.`;
}

function measureRow({
  measure,
  firstStage,
  reranked,
  alone,
  comparison,
}: ReportData["rows"][number]): string {
  const { difference, interval, pValue, wins, losses, ties } = comparison;
  // Of few queries the interval alone says too much.
  const isSure = pValue < 0.05;
  const kind = isSure && interval[0] > 0 ? "better" : isSure && interval[1] < 0 ? "worse" : "";
  return `<tr><td>${escape(measure)}</td><td>${firstStage.mean.toFixed(4)}</td><td>${reranked.mean.toFixed(4)}</td>${alone === undefined ? "" : `<td>${alone.mean.toFixed(4)}</td>`}<td class="${kind}">${signed(difference)} (${signed(interval[0])} … ${signed(interval[1])})</td><td>${pValue.toFixed(4)}</td><td>${wins} / ${losses} / ${ties}</td></tr>`;
}

function queryBlock(
  data: ReportData,
  { query, before, after }: { query: CollectionQuery; before: number; after: number },
): string {
  const lists = [data.firstStage, data.reranked].map((run) =>
    trecOrder(run.get(query.id) ?? []).slice(0, RANKS),
  );
  const cells = Array.from(
    { length: RANKS },
    (_, rank) =>
      `<tr><td>${rank + 1}</td>${lists.map((list) => `<td>${documentCell(data, query.id, list[rank]?.id)}</td>`).join("")}</tr>`,
  );
  return `<details><summary>${escape(query.text)} <span>${before.toFixed(2)} → ${after.toFixed(2)}</span></summary><table class="texts"><thead><tr><th></th><th>first stage</th><th>reranked</th></tr></thead><tbody>${cells.join("")}</tbody></table></details>`;
}

function documentCell(
  { documents, judgments }: ReportData,
  query: string,
  id: string | undefined,
): string {
  if (id === undefined) return "";
  const document = documents.get(id);
  const grade = judgments.get(query)?.get(id);
  const text = document?.text ?? "";
  return `<span class="grade g${Math.max(0, Math.min(3, grade ?? 0))}">${grade ?? "–"}</span> <b>${escape(document?.title ?? id)}</b><br>${escape(text.length > 300 ? `${text.slice(0, 300)}…` : text)}`;
}

function signed(value: number): string {
  return `${value >= 0 ? "+" : "−"}${Math.abs(value).toFixed(4)}`;
}

function escape(text: string): string {
  return text.replaceAll(/[&<>"']/gu, (character) => `&#${character.codePointAt(0)};`);
}

const STYLE = `body{font:15px/1.5 system-ui,sans-serif;max-width:70rem;margin:2rem auto;padding:0 1rem;color:#1f2937}
table{border-collapse:collapse}th,td{padding:.3rem .8rem;border-bottom:1px solid #e5e7eb;text-align:left;vertical-align:top}
.texts{font-size:13px;table-layout:fixed;width:100%}.texts th:first-child,.texts td:first-child{width:2rem}
summary{cursor:pointer;padding:.3rem 0}summary span{color:#6b7280}.note{color:#6b7280}.better{color:#15803d}.worse{color:#b91c1c}
.grade{display:inline-block;min-width:1.2em;text-align:center;border-radius:3px;background:#e5e7eb}.g1{background:#fef3c7}.g2{background:#bbf7d0}.g3{background:#4ade80}
svg{max-width:100%;height:auto}`;
