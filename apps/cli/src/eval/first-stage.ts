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
import { InvalidArgumentError } from "commander";

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
  options: { readonly embedding: string | undefined; say(line: string): void },
): Promise<Run> {
  const queries = collection.queries.filter(({ id }) => collection.judgments.has(id));
  if ("run" in spec) {
    const run = await readRun(spec.run);
    return new Map(queries.map(({ id }) => [id, run.get(id) ?? []]));
  }
  const bm25 = (): Run => {
    const index = new Bm25Index(collection.documents);
    return new Map(queries.map(({ id, text }) => [id, index.search(text, RETRIEVED)]));
  };
  if (spec.kind === "bm25") return bm25();
  if (options.embedding === undefined) {
    const message = `--first-stage ${spec.kind} needs --embedding FOLDER, a Sentence Transformers style folder with onnx/model.onnx`;
    throw Object.assign(new Error(message), { code: "embedding_missing" });
  }
  const dense = await retrieveDense(options.embedding, collection, queries, (line) =>
    options.say(line),
  );
  if (spec.kind === "dense") return dense;
  const lexical = bm25();
  return new Map(
    queries.map(({ id }) => [
      id,
      reciprocalRankFusion([lexical.get(id)!, dense.get(id)!], RETRIEVED),
    ]),
  );
}

/** Texts to a call of the embedder: enough for full batches, few enough to show progress. */
const CHUNK = 256;

async function retrieveDense(
  folder: string,
  { documents }: Collection,
  queries: Collection["queries"],
  say: (line: string) => void,
): Promise<Map<string, ScoredDocument[]>> {
  const embedder = await Embedder.load(folder);
  try {
    const vectors: Float32Array[] = [];
    let next = Date.now() + 5_000;
    for (let start = 0; start < documents.length; start += CHUNK) {
      const texts = documents.slice(start, start + CHUNK).map(documentText);
      vectors.push(...(await embedder.embed(texts, "document")));
      if (Date.now() < next) continue;
      say(`embedded ${vectors.length} of ${documents.length} documents`);
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
