import { meanNdcg } from "@rankfleet/eval";
import type { RerankResult } from "@rankfleet/sdk";
import { count, percentile, shorten, table } from "../print.ts";
import type { DemoCollection } from "./collection.ts";

export interface DemoReport {
  /** nDCG@10 with trec_eval's linear gain, mean over all queries. */
  readonly ndcg10: { readonly firstStage: number; readonly reranked: number };
  readonly queries: number;
  readonly pairs: number;
  readonly seconds: number;
  readonly pairsPerSecond: number;
  readonly batches: number;
  /** Real tokens ÷ tokens with padding. */
  readonly realOverPadded: number;
  readonly queueWaitMs: { readonly p50: number; readonly p95: number };
  readonly workers: number;
  readonly threadsPerWorker: number;
  readonly model: string;
  readonly revision: string;
  readonly dtype: string;
}

export function makeReport(
  demo: DemoCollection,
  results: ReadonlyMap<string, RerankResult>,
  run: {
    seconds: number;
    counters: ReadonlyMap<string, number>;
    workers: number;
    threadsPerWorker: number;
  },
): DemoReport {
  const { judgments } = demo.collection;
  const reranked = new Map([...results].map(([query, result]) => [query, rankingOf(result)]));
  const all = [...results.values()];
  const pairs = all.reduce((sum, result) => sum + result.usage.pairs, 0);
  const { model, revision, dtype } = all[0]!;
  const total = (name: string, labels = ""): number =>
    run.counters.get(`${name}{model="${model}"${labels}}`) ?? 0;
  const waits = all.map((result) => result.timings.queuedMs);
  return {
    ndcg10: {
      firstStage: round(meanNdcg(demo.firstStage, judgments).mean, 4),
      reranked: round(meanNdcg(reranked, judgments).mean, 4),
    },
    queries: results.size,
    pairs,
    seconds: round(run.seconds, 2),
    pairsPerSecond: round(pairs / run.seconds, 1),
    batches: total("rankfleet_batches_total"),
    realOverPadded: round(
      total("rankfleet_tokens_total", ',kind="real"') /
        total("rankfleet_tokens_total", ',kind="padded"'),
      4,
    ),
    queueWaitMs: { p50: round(percentile(waits, 0.5), 1), p95: round(percentile(waits, 0.95), 1) },
    workers: run.workers,
    threadsPerWorker: run.threadsPerWorker,
    model,
    revision,
    dtype,
  };
}

/** Three queries with both orders side by side: not only the one that gained most. */
export function showQueries(
  demo: DemoCollection,
  results: ReadonlyMap<string, RerankResult>,
): string {
  const { queries, judgments } = demo.collection;
  const gains = queries.map((query) => {
    const grades = new Map([[query.id, judgments.get(query.id) ?? new Map()]]);
    const before = meanNdcg(new Map([[query.id, demo.firstStage.get(query.id)!]]), grades).mean;
    const after = meanNdcg(new Map([[query.id, rankingOf(results.get(query.id)!)]]), grades).mean;
    return { query, before, after };
  });
  gains.sort((a, b) => b.after - b.before - (a.after - a.before));
  const last = gains.length - 1;
  const shown = { "gained most": 0, "in the middle": Math.round(last / 2), "lost most": last };
  return Object.entries(shown)
    .map(([label, place]) => `${label}: ${showQuery(demo, results, gains[place]!)}`)
    .join("\n\n");
}

function showQuery(
  demo: DemoCollection,
  results: ReadonlyMap<string, RerankResult>,
  { query, before, after }: { query: { id: string; text: string }; before: number; after: number },
): string {
  const grades = demo.collection.judgments.get(query.id);
  const stars = (id: string): string => "★".repeat(grades?.get(id) ?? 0);
  const title = (id: string): string => shorten(demo.documents.get(id)?.title ?? id, 40);
  const first = demo.firstStage.get(query.id)!;
  const reranked = rankingOf(results.get(query.id)!);
  const rows = Array.from({ length: 5 }, (_, rank) => {
    const [a, b] = [first[rank], reranked[rank]];
    return [
      String(rank + 1),
      a === undefined ? "" : a.score.toFixed(2),
      a === undefined ? "" : stars(a.id),
      a === undefined ? "" : title(a.id),
      b === undefined ? "" : b.score.toFixed(3),
      b === undefined ? "" : stars(b.id),
      b === undefined ? "" : title(b.id),
    ];
  });
  const head = ["", "BM25", "grade", "first stage", "score", "grade", "reranked"];
  return `“${query.text}”   nDCG@10 ${before.toFixed(2)} → ${after.toFixed(2)}\n${table(head, rows)}`;
}

export function showReport(report: DemoReport): string {
  const { ndcg10, queueWaitMs } = report;
  const change = (100 * (ndcg10.reranked - ndcg10.firstStage)) / ndcg10.firstStage;
  const rows = [
    [
      "nDCG@10",
      `${ndcg10.firstStage.toFixed(3)} first stage (BM25) → ${ndcg10.reranked.toFixed(3)} reranked (${change >= 0 ? "+" : ""}${change.toFixed(0)} %)`,
    ],
    [
      "throughput",
      `${count(report.pairsPerSecond)} pairs/s: ${count(report.pairs)} pairs of ${report.queries} queries in ${report.seconds.toFixed(1)} s`,
    ],
    [
      "batches",
      `${report.batches}, ${(100 * report.realOverPadded).toFixed(1)} % of their tokens real (the rest is padding)`,
    ],
    [
      "queue wait",
      `p50 ${queueWaitMs.p50.toFixed(0)} ms, p95 ${queueWaitMs.p95.toFixed(0)} ms (the whole bulk is enqueued at once)`,
    ],
    [
      "fleet",
      `${report.workers} workers × ${report.threadsPerWorker} thread, model ${report.model} ${report.revision} ${report.dtype}`,
    ],
  ];
  return rows.map(([name, value]) => `  ${name!.padEnd(11)} ${value}`).join("\n");
}

/** Scored documents only; ties must not be broken by the first stage's order. */
function rankingOf(result: RerankResult): { id: string; score: number }[] {
  return result.results.flatMap((document) =>
    document.error === undefined ? [{ id: document.id!, score: document.score }] : [],
  );
}

function round(value: number, digits: number): number {
  return Number(value.toFixed(digits));
}
