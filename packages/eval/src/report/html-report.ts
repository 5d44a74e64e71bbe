import { describeAdvice } from "../depth/describe-advice.ts";
import { plotDepth } from "../depth/plot-depth.ts";
import type { Candidates, DepthAdvice } from "../depth/advise-depth.ts";
import type { CollectionDocument, CollectionQuery } from "../collection.ts";
import type { Evaluation, Run } from "../metrics/evaluate-run.ts";
import { type ScoredDocument, trecOrder } from "../metrics/trec-order.ts";
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
  /** Which of the documents the reranker has scored: where others stand in `reranked`, their score there means nothing. */
  readonly candidates: Candidates;
}

/** How many queries are shown of those that won most, and of those that lost most. */
const SHOWN = 20;

/** Ranks that are shown of a query where the measure has no cutoff, and at most: a page must stay one. */
const RANKS = { usual: 10, most: 100 };

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
  const ranks = ranksOf(main!.measure);
  const block = (change: Change): string => queryBlock(data, change, ranks);
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
<h2>Queries that won most (${escape(main!.measure)})</h2>${wins.map(block).join("\n") || "<p>None.</p>"}
<h2>Queries that lost most</h2>${losses.map(block).join("\n") || "<p>None.</p>"}
</body></html>
`;
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

interface Change {
  readonly query: CollectionQuery;
  readonly before: number;
  readonly after: number;
}

/** As many as the measure looks at: with fewer the page could not say what changed it. */
function ranksOf(measure: string): number {
  const [, cutoff = RANKS.usual] = /@(\d+)$/u.exec(measure) ?? [];
  return Math.min(Number(cutoff), RANKS.most);
}

function queryBlock(data: ReportData, { query, before, after }: Change, ranks: number): string {
  const first = trecOrder(data.firstStage.get(query.id) ?? []);
  const reranked = trecOrder(data.reranked.get(query.id) ?? []);
  const [rankBefore, rankAfter] = [ranksById(first), ranksById(reranked)];
  const candidates = data.candidates.get(query.id) ?? [];
  const scored = new Set(candidates.flatMap(({ id, score }) => (score === undefined ? [] : [id])));
  const firstCell = ({ id, score }: ScoredDocument): string =>
    documentCell(data, query.id, id, [
      `score ${score.toFixed(2)}`,
      moved("to", rankBefore.get(id), rankAfter.get(id)),
    ]);
  const rerankedCell = ({ id, score }: ScoredDocument): string =>
    documentCell(data, query.id, id, [
      scored.has(id) ? `score ${score.toFixed(3)}` : "not scored",
      moved("from", rankAfter.get(id), rankBefore.get(id)),
    ]);
  const rows = Array.from(
    { length: Math.min(ranks, Math.max(first.length, reranked.length)) },
    (_, i) => {
      const cells = [
        first.slice(i, i + 1).map(firstCell),
        reranked.slice(i, i + 1).map(rerankedCell),
      ];
      return `<tr><td>${i + 1}</td>${cells.map((cell) => `<td>${cell.join("")}</td>`).join("")}</tr>`;
    },
  );
  return `<details><summary>${isolated(query.text)} <small>${before.toFixed(2)} → ${after.toFixed(2)}</small></summary><table class="texts"><thead><tr><th></th><th>first stage</th><th>reranked</th></tr></thead><tbody>${rows.join("\n")}</tbody></table></details>`;
}

function ranksById(ordered: readonly ScoredDocument[]): ReadonlyMap<string, number> {
  return new Map(ordered.map(({ id }, index) => [id, index + 1]));
}

function moved(word: "from" | "to", own: number | undefined, other: number | undefined): string {
  if (other === undefined) return "in this run only";
  return other === own ? "stays" : `moved ${word} ${other}`;
}

/** Grade, title and what became of it in a line; the text on a click. */
function documentCell(
  { documents, judgments }: ReportData,
  query: string,
  id: string,
  facts: readonly string[],
): string {
  const { title = "", text = "" } = documents.get(id) ?? {};
  const grade = judgments.get(query)?.get(id);
  return `<details><summary><span class="grade g${Math.max(0, Math.min(3, grade ?? 0))}">${grade ?? "–"}</span> ${isolated(cut(title || text || id, 80))} <small>${facts.join(" · ")}</small></summary><small>${isolated(id)}</small> ${isolated(cut(text, 300))}</details>`;
}

/** Not within a character: half of an emoji is none. */
function cut(text: string, length: number): string {
  if (text.length <= length) return text;
  return `${text.slice(0, length).replace(/[\uD800-\uDBFF]$/u, "")}…`;
}

/** Text from right to left, or a mark that says so, turns round what stands beside it unless it is kept apart. */
function isolated(text: string): string {
  return `<bdi>${escape(text)}</bdi>`;
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
summary{cursor:pointer;padding:.3rem 0}td summary{padding:0}summary,td{overflow-wrap:anywhere}small,.note{color:#6b7280}.better{color:#15803d}.worse{color:#b91c1c}
.grade{display:inline-block;min-width:1.2em;text-align:center;border-radius:3px;background:#e5e7eb}.g1{background:#fef3c7}.g2{background:#bbf7d0}.g3{background:#4ade80}
svg{max-width:100%;height:auto}`;
