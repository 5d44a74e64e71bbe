import { fuse, Reranker } from "@rankfleet/core";
import type { Candidates, Collection, Run, ScoresOf } from "@rankfleet/eval";
import { documentText } from "@rankfleet/eval";
import { InvalidRequestError, RerankClient, type RerankRequest } from "@rankfleet/sdk";
import { boxFolder } from "@rankfleet/worker";
import { startProgress } from "../progress.ts";

export interface ScoringOptions {
  /** In process: `box` or a folder. Through a fleet: the model's id. */
  readonly model: string;
  /** Absent to score in this process. */
  readonly redis: string | undefined;
  readonly prefix: string;
  readonly device: string;
  readonly dtype: string | undefined;
  readonly threads: number | undefined;
  readonly longDocuments: "truncate" | "split";
  readonly depth: number;
  readonly signal: AbortSignal;
}

export interface ScoredRun {
  /** By the model's logits alone. */
  readonly alone: Candidates;
  /** By the logits fused with the first stage's scores, if the model has learnt to use them. */
  readonly fused: Candidates | undefined;
  /** From `alone`, what a request of some of the candidates would get; undefined if nothing is fused in. */
  readonly fusedOf: ScoresOf | undefined;
  readonly pairs: number;
  /** Of these, what the score cache knew. */
  readonly cached: number;
  /** From the first request to the last score, without loading the model or waiting for a worker. */
  readonly seconds: number;
  /** Pairs that were scored a second, without those that the score cache knew; undefined if there was none. */
  readonly pairsPerSecond: number | undefined;
  /** The same in documents, of which some may have been scored in parts. */
  readonly documentsPerSecond: number | undefined;
  /** Pairs that could not be scored. */
  readonly failed: number;
  /** Why, by code, with one example each. */
  readonly failures: ReadonlyMap<string, PairFailures>;
  /** Model, revision and dtype, as they really were. */
  readonly model: string;
}

export interface PairFailures {
  readonly count: number;
  /** The first one: query and document by their ids, and what was wrong. */
  readonly example: string;
}

/** Of a model that is loaded in this process. */
export function modelFolder(model: string): string {
  return model === "box" ? boxFolder() : model;
}

/** Scores the first `depth` candidates of every query, with progress on standard error. */
export async function scoreRun(
  run: Run,
  collection: Collection,
  options: ScoringOptions,
): Promise<ScoredRun> {
  const texts = new Map(
    collection.documents.map((document) => [document.id, documentText(document)]),
  );
  const queries = new Map(collection.queries.map(({ id, text }) => [id, text]));
  const asked = [...run].filter(([, list]) => list.length > 0);
  const requests = asked.map(([query, list]) => ({
    id: query,
    query: queries.get(query)!,
    documents: list
      .slice(0, options.depth)
      .map(({ id, score }) => ({ text: texts.get(id) ?? "", firstStageScore: score })),
  }));
  const progress = startProgress({ total: requests.length, unit: "queries" });
  const scores = new Map<string, QueryScores>();
  const failures = new Map<string, PairFailures>();
  let [pairs, cached] = [0, 0];
  let start: number | undefined;
  const onScored: OnScored = (id, scored, tookMs) => {
    start ??= performance.now() - tookMs;
    scores.set(id, scored);
    pairs += scored.pairs;
    cached += scored.cached;
    for (const { code, index, message } of scored.failures) {
      const { count = 0, example } = failures.get(code) ?? {};
      const name = `document "${run.get(id)![index]!.id}" of query "${id}": ${message}`;
      failures.set(code, { count: count + 1, example: example ?? name });
    }
    progress.update(scores.size, pairs);
  };
  try {
    const model =
      options.redis === undefined
        ? await scoreHere(requests, options, onScored)
        : await scoreThere(requests, options, onScored, (reason) => progress.waiting(reason));
    const by = (kind: (scored: QueryScores) => readonly (number | undefined)[]): Candidates =>
      new Map(
        [...run].map(([query, list]) => {
          const scored = scores.get(query);
          const values = scored === undefined ? [] : kind(scored);
          return [
            query,
            list.map(({ id, score }, i) => ({ id, firstStage: score, score: values[i] })),
          ];
        }),
      );
    const all = [...scores.values()];
    const seconds = start === undefined ? 0 : (performance.now() - start) / 1000;
    const pairsPerSecond = pairs > cached ? (pairs - cached) / seconds : undefined;
    const documents = all.reduce((sum, { logits }) => sum + logits.length, 0);
    const answered = all.filter(({ logits, failures: own }) => own.length < logits.length);
    const isFused = answered.length > 0 && answered.every(({ fused }) => fused !== undefined);
    const alone = by(({ logits }) => logits);
    const fused = isFused ? by(({ fused: own, logits }) => own ?? logits) : undefined;
    return {
      alone,
      fused,
      fusedOf: fused && fusedBy(weightOf(alone, fused, options.depth)),
      pairs,
      cached,
      seconds,
      pairsPerSecond,
      documentsPerSecond: pairsPerSecond && (pairsPerSecond * documents) / pairs,
      failed: [...failures.values()].reduce((sum, { count }) => sum + count, 0),
      failures,
      model,
    };
  } finally {
    progress.stop();
  }
}

interface QueryToScore {
  readonly id: string;
  readonly query: string;
  readonly documents: readonly { readonly text: string; readonly firstStageScore: number }[];
}

interface FailedPair {
  /** Among the query's documents. */
  readonly index: number;
  readonly code: string;
  readonly message: string;
}

interface QueryScores {
  readonly failures: readonly FailedPair[];
  readonly logits: readonly (number | undefined)[];
  readonly fused: readonly (number | undefined)[] | undefined;
  /** More than the documents if some were split. */
  readonly pairs: number;
  /** How many of these the score cache knew. */
  readonly cached: number;
}

/** @param tookMs From the query's request to its scores: the first one tells when scoring began. */
type OnScored = (id: string, scored: QueryScores, tookMs: number) => void;

/** Queries under way at once: their pairs share batches. */
const UNDER_WAY = 16;

async function scoreHere(
  requests: readonly QueryToScore[],
  options: ScoringOptions,
  onScored: OnScored,
): Promise<string> {
  const { device, dtype, threads, longDocuments, signal } = options;
  const reranker = await Reranker.load(modelFolder(options.model), { device, dtype, threads });
  try {
    let next = 0;
    const work = async (): Promise<void> => {
      for (let i = next++; i < requests.length; i = next++) {
        const { id, query, documents } = requests[i]!;
        const start = performance.now();
        const scored = await reranker.score(
          {
            texts: { query, documents: documents.map(({ text }) => text) },
            firstStageScores: documents.map(({ firstStageScore }) => firstStageScore),
            longDocuments,
          },
          { signal },
        );
        const { pairs, cached } = scored;
        const logits = scored.documents.map((document) =>
          document.state === "scored" ? document.logit : undefined,
        );
        const fused = scored.fused?.map((logit) => logit ?? undefined);
        const failures = scored.documents.flatMap((document, index) =>
          document.state === "failed" ? [{ index, ...document.failure }] : [],
        );
        onScored(id, { logits, fused, failures, pairs, cached }, performance.now() - start);
      }
    };
    await Promise.all(Array.from({ length: UNDER_WAY }, work));
    const { revision, dtype: loaded } = reranker.facts;
    return `${options.model} ${revision} ${loaded}`;
  } finally {
    await reranker.close();
  }
}

async function scoreThere(
  requests: readonly QueryToScore[],
  { model, redis, prefix, longDocuments, signal }: ScoringOptions,
  onScored: OnScored,
  onWait: (reason: string) => void,
): Promise<string> {
  const client = new RerankClient({
    ...(redis === undefined ? {} : { redis }),
    prefix,
    model,
    modelWaitMs: 30_000,
    warnAboveDocuments: Infinity,
    onWait: ({ reason }) => onWait(reason),
  });
  try {
    let facts = model;
    const stream = requests.map(({ id, query, documents }): RerankRequest => ({
      query,
      documents,
      longDocuments,
      // The ranking's own logits: far out, sigmoids round to 1 and tie.
      rawScores: true,
      metadata: { id },
    }));
    for await (const { request, result, error } of client.rerankMany(stream, { signal })) {
      const id = String(request.metadata!["id"]);
      const logits: (number | undefined)[] = request.documents.map(() => undefined);
      if (error !== undefined) {
        // What is wrong with a query's texts costs that query, as it does in this process.
        if (!(error instanceof InvalidRequestError)) throw ofQuery(id, error);
        const { code, message } = error;
        const failures = logits.map((_, index) => ({ index, code, message }));
        onScored(id, { logits, fused: undefined, failures, pairs: 0, cached: 0 }, 0);
        continue;
      }
      const relevance = [...logits];
      const failures: FailedPair[] = [];
      for (const document of result.results) {
        if (document.error !== undefined) {
          const { code, message } = document.error;
          failures.push({ index: document.index, code, message });
          continue;
        }
        logits[document.index] = document.logit;
        relevance[document.index] = document.score;
      }
      const fused = result.isFused ? relevance : undefined;
      const { pairs, cachedPairs: cached } = result.usage;
      onScored(id, { logits, fused, failures, pairs, cached }, result.timings.totalMs);
      facts = `${result.model} ${result.revision} ${result.dtype}`;
    }
    return facts;
  } finally {
    await client.close();
  }
}

/** What the first stage weighs in the model's scores; a fleet tells the scores, not the weight. */
function weightOf(alone: Candidates, fused: Candidates, depth: number): number {
  for (const [query, list] of alone) {
    const within = list.slice(0, depth);
    // What could not be scored has nothing added to it.
    const added = fusedBy(1)(within).map((score, i) => (score ?? 0) - (within[i]!.score ?? 0));
    const most = added.reduce((top, value, i) => (value > (added[top] ?? 0) ? i : top), 0);
    if (added[most]! > 1e-3)
      return (fused.get(query)![most]!.score! - within[most]!.score!) / added[most]!;
  }
  return 0;
}

function fusedBy(weight: number): ScoresOf {
  return (list) => {
    const logits = list.map(({ score }) => score ?? null);
    const firstStage = list.map((candidate) => candidate.firstStage);
    return fuse(logits, firstStage, weight).map((score) => score ?? undefined);
  };
}

function ofQuery(id: string, error: Error): Error {
  const { code } = error as { code?: unknown };
  return Object.assign(new Error(`query "${id}": ${error.message}`, { cause: error }), { code });
}
