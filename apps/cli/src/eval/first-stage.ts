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
  options: Watched & { readonly embedding: string | undefined },
): Promise<Run> {
  const queries = collection.queries.filter(({ id }) => collection.judgments.has(id));
  if ("run" in spec) {
    const run = await readRun(spec.run);
    requireFit(spec.run, run, collection, (line) => options.say(line));
    return new Map(queries.map(({ id }) => [id, run.get(id) ?? []]));
  }
  const { signal } = options;
  const bm25 = async (): Promise<Run> => {
    const documents = told(collection.documents, "documents indexed", options);
    const index = await Bm25Index.build(documents, { signal });
    return searchAll(queries, ({ text }) => index.search(text, RETRIEVED), options);
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

interface Watched {
  readonly signal: AbortSignal;
  say(line: string): void;
}

/** Every query's candidates. A search of a large corpus takes tens of milliseconds, and of vectors ten times that. */
async function searchAll(
  queries: Collection["queries"],
  search: (query: Collection["queries"][number], place: number) => ScoredDocument[],
  options: Watched,
): Promise<Map<string, ScoredDocument[]>> {
  const run = new Map<string, ScoredDocument[]>();
  for (const query of told(queries, "queries searched", options)) {
    // So that Ctrl-C is heard.
    await turn();
    options.signal.throwIfAborted();
    run.set(query.id, search(query, run.size));
  }
  return run;
}

const TOLD_EVERY_MS = 5_000;

/** The same items; where they take long, how many are done is said. */
function* told<Item>(
  items: readonly Item[],
  what: string,
  { say }: Pick<Watched, "say">,
): Generator<Item> {
  let next = Date.now() + TOLD_EVERY_MS;
  for (const [done, item] of items.entries()) {
    if (Date.now() >= next) {
      say(`${count(done)} of ${count(items.length)} ${what}`);
      next = Date.now() + TOLD_EVERY_MS;
    }
    yield item;
  }
}

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
  options: Watched,
): Promise<Map<string, ScoredDocument[]>> {
  const embedder = await Embedder.load(folder);
  const embed = async <Item>(
    items: readonly Item[],
    textOf: (item: Item) => string,
    kind: "document" | "query",
    what: string,
  ): Promise<Float32Array[]> => {
    const vectors: Float32Array[] = [];
    let texts: string[] = [];
    for (const item of told(items, what, options)) {
      texts.push(textOf(item));
      if (texts.length < CHUNK && vectors.length + texts.length < items.length) continue;
      options.signal.throwIfAborted();
      vectors.push(...(await embedder.embed(texts, kind)));
      texts = [];
    }
    return vectors;
  };
  try {
    const vectors = await embed(documents, documentText, "document", "documents embedded");
    const index = new DenseIndex(documents.map(({ id }, i) => ({ id, vector: vectors[i]! })));
    const asked = await embed(queries, ({ text }) => text, "query", "queries embedded");
    return await searchAll(queries, (_, i) => index.search(asked[i]!, RETRIEVED), options);
  } finally {
    await embedder.close();
  }
}
