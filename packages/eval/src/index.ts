export { CollectionError, type CollectionErrorCode } from "./collection-error.ts";
export {
  type Collection,
  type CollectionDocument,
  type CollectionQuery,
  readCollection,
  readCorpus,
  readQueries,
} from "./collection.ts";
export { analyzeEnglish } from "./first-stage/analyze-english.ts";
export {
  type Bm25Document,
  type Bm25Hit,
  Bm25Index,
  type Bm25Options,
} from "./first-stage/bm25.ts";
export {
  type Gain,
  type Grades,
  type MeanNdcg,
  meanNdcg,
  ndcg,
  type NdcgOptions,
} from "./metrics/ndcg.ts";
export { type ScoredDocument, trecOrder } from "./metrics/trec-order.ts";
export { type Judgments, readQrels } from "./qrels.ts";
