import { Reranker } from "@rankfleet/core";
import type { Candidates, Collection, Run } from "@rankfleet/eval";
import { documentText } from "@rankfleet/eval";
import { RerankClient, type RerankRequest } from "@rankfleet/sdk";
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
  readonly candidates: Candidates;
  readonly pairs: number;
  readonly seconds: number;
  readonly failed: number;
  /** Model, revision and dtype, as they really were. */
  readonly model: string;
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
    documents: list.slice(0, options.depth).map(({ id }) => texts.get(id) ?? ""),
  }));
  const progress = startProgress({ total: requests.length, unit: "queries" });
  const start = performance.now();
  const logits = new Map<string, readonly (number | undefined)[]>();
  let pairs = 0;
  const onScored = (id: string, scored: readonly (number | undefined)[]): void => {
    logits.set(id, scored);
    pairs += scored.length;
    progress.update(logits.size, pairs);
  };
  try {
    const score = options.redis === undefined ? scoreHere : scoreThere;
    const model = await score(requests, options, onScored);
    const candidates: Candidates = new Map(
      [...run].map(([query, list]) => [
        query,
        list.map(({ id, score: firstStage }, i) => ({
          id,
          firstStage,
          score: logits.get(query)?.[i],
        })),
      ]),
    );
    const failed = [...logits.values()].flat().filter((logit) => logit === undefined).length;
    return { candidates, pairs, seconds: (performance.now() - start) / 1000, failed, model };
  } finally {
    progress.stop();
  }
}

interface QueryToScore {
  readonly id: string;
  readonly query: string;
  readonly documents: readonly string[];
}

type OnScored = (id: string, logits: readonly (number | undefined)[]) => void;

/** Queries under way at once: their pairs share batches. */
const UNDER_WAY = 16;

async function scoreHere(
  requests: readonly QueryToScore[],
  options: ScoringOptions,
  onScored: OnScored,
): Promise<string> {
  const { device, dtype, threads, longDocuments, signal } = options;
  const folder = options.model === "box" ? boxFolder() : options.model;
  const reranker = await Reranker.load(folder, { device, dtype, threads });
  try {
    let next = 0;
    const work = async (): Promise<void> => {
      for (let i = next++; i < requests.length; i = next++) {
        const { id, query, documents } = requests[i]!;
        const scored = await reranker.score(
          { texts: { query, documents }, longDocuments },
          { signal },
        );
        onScored(
          id,
          scored.documents.map((document) =>
            document.state === "scored" ? document.logit : undefined,
          ),
        );
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
): Promise<string> {
  const client = new RerankClient({
    ...(redis === undefined ? {} : { redis }),
    prefix,
    model,
    modelWaitMs: 30_000,
    warnAboveDocuments: Infinity,
  });
  try {
    let facts = model;
    const stream = requests.map(({ id, query, documents }): RerankRequest => ({
      query,
      documents,
      longDocuments,
      metadata: { id },
    }));
    for await (const { request, result, error } of client.rerankMany(stream, { signal })) {
      if (error !== undefined) throw error;
      const scored: (number | undefined)[] = request.documents.map(() => undefined);
      for (const document of result.results) {
        if (document.error === undefined) scored[document.index] = document.logit;
      }
      onScored(String(request.metadata!["id"]), scored);
      facts = `${result.model} ${result.revision} ${result.dtype}`;
    }
    return facts;
  } finally {
    await client.close();
  }
}
