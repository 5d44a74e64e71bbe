import { setImmediate as turn } from "node:timers/promises";
import { Embedder } from "@rankfleet/core";
import {
  Bm25Index,
  type Collection,
  DenseIndex,
  documentText,
  readRun,
  reciprocalRankFusion,
  type Run,
  type ScoredDocument,
} from "@rankfleet/eval";
import { MAX_DOCUMENTS } from "@rankfleet/queue/contract";
import { InvalidArgumentError } from "commander";
import { count } from "../print.ts";

/** `bm25`, `dense`, `hybrid`, or a TREC run file. */
export type FirstStageSpec =
  | { readonly kind: "bm25" | "dense" | "hybrid" }
  | { readonly run: string };

/** How deep the first stage goes, whatever is reranked: recall@100 and the run file want it. */
export const RETRIEVED = 1000;

export function firstStageSpec(text: string): FirstStageSpec {
  if (text === "bm25" || text === "dense" || text === "hybrid") return { kind: text };
  if (text.startsWith("run:") && text.length > 4) return { run: text.slice(4) };
  throw new InvalidArgumentError("must be bm25, dense, hybrid or run:FILE.");
}

/** The candidates of every query that has a judgment, best first. */
export async function retrieve(
  spec: FirstStageSpec,
  collection: Collection,
  options: {
    readonly embedding: string | undefined;
    readonly signal: AbortSignal;
    say(line: string): void;
  },
): Promise<Run> {
  const queries = collection.queries.filter(({ id }) => collection.judgments.has(id));
  if ("run" in spec) {
    const run = await readRun(spec.run);
    requireFit(spec.run, run, collection, (line) => options.say(line));
    return new Map(queries.map(({ id }) => [id, run.get(id) ?? []]));
  }
  const { signal } = options;
  const bm25 = async (): Promise<Run> => {
    const index = await Bm25Index.build(collection.documents, { signal });
    const run = new Map<string, ScoredDocument[]>();
    for (const { id, text } of queries) {
      if (run.size % QUERIES_A_TURN === 0) await turn();
      signal.throwIfAborted();
      run.set(id, index.search(text, RETRIEVED));
    }
    return run;
  };
  if (spec.kind === "bm25") return bm25();
  if (options.embedding === undefined) {
    const message = `--first-stage ${spec.kind} needs --embedding FOLDER, a Sentence Transformers style folder with onnx/model.onnx`;
    throw Object.assign(new Error(message), { code: "embedding_missing" });
  }
  const dense = await retrieveDense(options.embedding, collection, queries, options);
  if (spec.kind === "dense") return dense;
  const lexical = await bm25();
  return new Map(
    queries.map(({ id }) => [
      id,
      reciprocalRankFusion([lexical.get(id)!, dense.get(id)!], RETRIEVED),
    ]),
  );
}

/**
 * How many candidates are reranked of the query that has most. A request's bound holds in this process too: the same
 * command must give the same figures through a fleet.
 */
export function depthWithin(run: Run, asked: number, say: (line: string) => void): number {
  const deepest = [...run.values()].reduce((most, { length }) => Math.max(most, length), 1);
  const depth = Math.min(asked, deepest, MAX_DOCUMENTS);
  if (depth < asked) {
    const why =
      depth < deepest
        ? "a request takes no more documents"
        : "the first stage has no more candidates";
    say(`--depth is ${count(depth)}, not ${count(asked)}: ${why}`);
  }
  return depth;
}

/** Searches until Ctrl-C is looked for again: a large corpus takes tens of milliseconds for each. */
const QUERIES_A_TURN = 16;

/** A run over another version of the corpus would be held against the reranker. */
export function requireFit(
  file: string,
  run: Run,
  { documents, queries }: Collection,
  say: (line: string) => void,
): void {
  const ids = new Set(documents.map(({ id }) => id));
  if (!queries.some(({ id }) => run.has(id))) {
    const [first = "none"] = run.keys();
    const message = `${file} has none of the judged queries (its first is "${first}", theirs "${queries[0]?.id}")`;
    throw Object.assign(new Error(message), { code: "run_invalid" });
  }
  const missing = [...run.values()].flat().filter(({ id }) => !ids.has(id));
  if (missing.length === 0) return;
  say(
    `${missing.length} documents of ${file} are not in the corpus, e.g. "${missing[0]!.id}": they cannot be scored`,
  );
}

/** Texts to a call of the embedder: enough for full batches, few enough to show progress. */
const CHUNK = 256;

async function retrieveDense(
  folder: string,
  { documents }: Collection,
  queries: Collection["queries"],
  options: { readonly signal: AbortSignal; say(line: string): void },
): Promise<Map<string, ScoredDocument[]>> {
  const embedder = await Embedder.load(folder);
  try {
    const vectors: Float32Array[] = [];
    let next = Date.now() + 5_000;
    for (let start = 0; start < documents.length; start += CHUNK) {
      options.signal.throwIfAborted();
      const texts = documents.slice(start, start + CHUNK).map(documentText);
      vectors.push(...(await embedder.embed(texts, "document")));
      if (Date.now() < next) continue;
      options.say(`embedded ${vectors.length} of ${documents.length} documents`);
      next = Date.now() + 5_000;
    }
    const index = new DenseIndex(documents.map(({ id }, i) => ({ id, vector: vectors[i]! })));
    const asked = await embedder.embed(
      queries.map(({ text }) => text),
      "query",
    );
    return new Map(queries.map(({ id }, i) => [id, index.search(asked[i]!, RETRIEVED)]));
  } finally {
    await embedder.close();
  }
}
