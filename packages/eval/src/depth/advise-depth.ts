import { setImmediate as turn } from "node:timers/promises";
import { evaluateRun, type Evaluation, type Run } from "../metrics/evaluate-run.ts";
import { parseMeasure } from "../metrics/measures.ts";
import type { ScoredDocument } from "../metrics/trec-order.ts";
import type { Judgments } from "../qrels.ts";
import { bootstrapInterval, differencesOf } from "../statistics/compare-runs.ts";

/** One candidate with the score of the stage that found it, and the reranker's, if it could give one. */
export interface Candidate {
  readonly id: string;
  readonly firstStage: number;
  readonly score: number | undefined;
}

/**
 * The scores, in order, that a request of just these candidates would give, for scores that depend on the other candidates:
 * those fused with a first stage's scores do, by their spread.
 */
export type ScoresOf = (list: readonly Candidate[]) => readonly (number | undefined)[];

/** Each query's candidates, best of the first stage first. */
export type Candidates = ReadonlyMap<string, readonly Candidate[]>;

export interface DepthPoint {
  /** Candidates that are reranked for each query. */
  readonly depth: number;
  /** Mean of the measure over queries. */
  readonly value: number;
  /** 95 %, over queries. */
  readonly interval: readonly [low: number, high: number];
  readonly recall: number;
  readonly pairs: number;
  /** Seconds to score `pairs` at `pairsPerSecond`; absent without that. */
  readonly seconds?: number;
}

export interface DepthAdvice {
  readonly measure: string;
  readonly recallMeasure: string;
  readonly points: readonly DepthPoint[];
  /** Where the measure is highest. */
  readonly best: number;
  /** The shallowest depth that cannot be told from the best one on these queries. */
  readonly cheapest: number;
  /** The measure of the first stage alone; absent where nothing is left without the reranker. */
  readonly withoutReranking?: number;
  /** From here on recall lies below its peak by more than noise; absent if it never does. */
  readonly recallFallsFrom?: number;
}

export interface AdviceOptions {
  /** Default `ndcg@10`. */
  readonly measure?: string;
  /** Default `recall@10`. */
  readonly recallMeasure?: string;
  /** Default {@link depthGrid} of the deepest query. */
  readonly depths?: readonly number[];
  readonly pairsPerSecond?: number | undefined;
  /**
   * Leave candidates below the depth out of the result, as a cascade's last stage does, which gets only `keep` documents.
   * Default false: they stay behind the reranked ones.
   */
  readonly dropsRest?: boolean;
  /** See {@link ScoresOf}. Default: each candidate's own score. */
  readonly scoresOf?: ScoresOf | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** 5, 10, 20, 30, 50, 75, 100 … 1,000, as far as `deepest`, which is always in. */
export function depthGrid(deepest: number): number[] {
  const grid = [5, 10, 20, 30, 50, 75, 100, 150, 200, 300, 500, 750, 1000];
  return [...grid.filter((depth) => depth < deepest), deepest];
}

/**
 * Quality against the number of candidates that are reranked (after "Drowning in Documents",
 * arXiv 2411.11767, where scoring more lowers recall). One pass at full depth gives every shallower
 * one for free: a document's score does not depend on its neighbours, or is made anew by `scoresOf`.
 *
 * @throws RangeError for a measure that `parseMeasure` does not know; the signal's reason.
 */
export async function adviseDepth(
  candidates: Candidates,
  judgments: Judgments,
  options: AdviceOptions = {},
): Promise<DepthAdvice> {
  const { measure = "ndcg@10", recallMeasure = "recall@10", pairsPerSecond } = options;
  const { dropsRest, scoresOf } = options;
  const lists = [...candidates.values()];
  const depths = options.depths ?? depthGrid(deepestOf(candidates));
  const measures = [parseMeasure(measure), parseMeasure(recallMeasure)];
  const evaluated: EvaluatedDepth[] = [];
  for (const depth of depths) {
    // With many queries this takes seconds, in which Ctrl-C is to be heard.
    await turn();
    options.signal?.throwIfAborted();
    const reranked = rerankedTo(dropsRest ? cutTo(candidates, depth) : candidates, depth, scoresOf);
    const evaluations = evaluateRun(reranked, judgments, measures);
    evaluated.push({
      depth,
      quality: evaluations.get(measure)!,
      recall: evaluations.get(recallMeasure)!,
      pairs: lists.reduce((sum, list) => sum + Math.min(depth, list.length), 0),
    });
  }
  const best = highest(evaluated, ({ quality }) => quality);
  const peak = highest(evaluated, ({ recall }) => recall);
  const none = dropsRest
    ? undefined
    : evaluateRun(rerankedTo(candidates, 0), judgments, measures).get(measure)!.mean;
  const fallen = evaluated.find(
    ({ depth, recall }) => depth > peak.depth && isWorse(peak.recall, recall),
  );
  return {
    measure,
    recallMeasure,
    points: evaluated.map(({ depth, quality, recall, pairs }) => ({
      depth,
      value: quality.mean,
      interval: bootstrapInterval([...quality.byQuery.values()], ADVICE),
      recall: recall.mean,
      pairs,
      ...(pairsPerSecond === undefined ? {} : { seconds: pairs / pairsPerSecond }),
    })),
    best: best.depth,
    cheapest: evaluated.find(({ quality }) => !isWorse(best.quality, quality))!.depth,
    ...(none === undefined ? {} : { withoutReranking: none }),
    ...(fallen === undefined ? {} : { recallFallsFrom: fallen.depth }),
  };
}

interface EvaluatedDepth {
  readonly depth: number;
  readonly quality: Evaluation;
  readonly recall: Evaluation;
  readonly pairs: number;
}

/** Candidates of the query that has most, 1 at least. */
export function deepestOf(candidates: Candidates): number {
  let deepest = 1;
  for (const list of candidates.values()) deepest = Math.max(deepest, list.length);
  return deepest;
}

/** The first `depth` candidates by the reranker's score, the others below in the first stage's order. */
export function rerankedTo(candidates: Candidates, depth: number, scoresOf?: ScoresOf): Run {
  return new Map([...candidates].map(([query, list]) => [query, rerankOne(list, depth, scoresOf)]));
}

function cutTo(candidates: Candidates, depth: number): Candidates {
  return new Map([...candidates].map(([query, list]) => [query, list.slice(0, depth)]));
}

const ADVICE = { samples: 2_000 };

function rerankOne(
  list: readonly Candidate[],
  depth: number,
  scoresOf: ScoresOf = (within) => within.map(({ score }) => score),
): ScoredDocument[] {
  const scores = scoresOf(list.slice(0, depth));
  const scored = list.flatMap(({ id }, index) => {
    const score = scores[index];
    return score === undefined ? [] : [{ id, score }];
  });
  const lowest = scored.reduce((low, { score }) => Math.min(low, score), 0);
  const others = list.filter((_, index) => scores[index] === undefined);
  return [...scored, ...others.map(({ id }, index) => ({ id, score: lowest - 1 - index }))];
}

function highest<Item>(items: readonly Item[], of: (item: Item) => Evaluation): Item {
  return items.reduce((a, b) => (of(b).mean > of(a).mean + 1e-9 ? b : a));
}

/** Lower by more than resampling the queries explains. */
function isWorse(reference: Evaluation, other: Evaluation): boolean {
  return bootstrapInterval(differencesOf(reference, other), ADVICE)[1] < 0;
}
