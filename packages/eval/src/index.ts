export { CollectionError, type CollectionErrorCode } from "./collection-error.ts";
export {
  type Collection,
  type CollectionDocument,
  type CollectionFiles,
  type CollectionQuery,
  documentText,
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
export { formatQrels, type Judgments, readQrels } from "./qrels.ts";
export {
  type AdviceOptions,
  adviseDepth,
  type Candidate,
  type Candidates,
  type ScoresOf,
  type DepthAdvice,
  deepestOf,
  depthGrid,
  type DepthPoint,
  rerankedTo,
} from "./depth/advise-depth.ts";
export { plotDepth } from "./depth/plot-depth.ts";
export { DenseIndex, type EmbeddedDocument } from "./first-stage/dense.ts";
export { reciprocalRankFusion } from "./first-stage/reciprocal-rank-fusion.ts";
export { agreement, type Agreement } from "./judge/agreement.ts";
export { type ChatEndpoint, JudgeError } from "./judge/chat-client.ts";
export {
  type JudgedPair,
  type JudgeOptions,
  judgePairs,
  type PairToJudge,
} from "./judge/judge-pairs.ts";
export { RUBRIC } from "./judge/rubric.ts";
export { evaluateRun, type Evaluation, type Run } from "./metrics/evaluate-run.ts";
export { type Measure, MEASURES, parseMeasure } from "./metrics/measures.ts";
export { describeAdvice, doesHelp } from "./depth/describe-advice.ts";
export { htmlReport, type ReportData } from "./report/html-report.ts";
export { compareRuns, type Comparison } from "./statistics/compare-runs.ts";
export { formatRun, readRun } from "./trec/run-file.ts";
export { readTopics } from "./trec/topics.ts";
