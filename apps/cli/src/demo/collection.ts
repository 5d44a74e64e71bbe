import { fileURLToPath } from "node:url";
import {
  Bm25Index,
  documentText,
  readCollection,
  type Collection,
  type CollectionDocument,
} from "@rankfleet/eval";
import type { RerankRequest } from "@rankfleet/sdk";

/** The demo's queries with the candidates that a first stage found for each. */
export interface DemoCollection {
  readonly collection: Collection;
  readonly documents: ReadonlyMap<string, CollectionDocument>;
  /** By query id: candidates, best first, with BM25's score. */
  readonly firstStage: ReadonlyMap<
    string,
    readonly { readonly id: string; readonly score: number }[]
  >;
}

export const DEPTH = 50;

export async function readDemoCollection(): Promise<DemoCollection> {
  const collection = await readCollection(
    fileURLToPath(new URL("../../demo-corpus", import.meta.url)),
  );
  const index = new Bm25Index(collection.documents);
  return {
    collection,
    documents: new Map(collection.documents.map((document) => [document.id, document])),
    firstStage: new Map(collection.queries.map(({ id, text }) => [id, index.search(text, DEPTH)])),
  };
}

/** One request for each query; the query's id travels in the metadata. */
export function* toRequests({
  collection,
  documents,
  firstStage,
}: DemoCollection): Generator<RerankRequest> {
  for (const { id, text } of collection.queries) {
    yield {
      query: text,
      documents: firstStage.get(id)!.map(({ id: document, score }) => ({
        id: document,
        text: documentText(documents.get(document)!),
        firstStageScore: score,
      })),
      metadata: { query: id },
    };
  }
}
