export { Reranker } from "./reranker.ts";
export type { RerankerOptions, ScoredDocument, ScoredRequest } from "./reranker.ts";
export { CoreError } from "./errors.ts";
export type { CoreErrorCode, CoreFailure } from "./errors.ts";
export { activate } from "./model/family.ts";
export type { Activation, ModelFacts } from "./model/family.ts";
export { folderName } from "./model/folder.ts";
export type { BatchReport, SubmitOptions } from "./engine/batcher.ts";
export type { ScoreRequest, SerializedTexts, Texts } from "./engine/request.ts";
export type { LengthPolicy } from "./tokenize/pairs.ts";
export type { Truncation } from "./tokenize/truncate.ts";
// For who drives a device himself, as the benchmark's bare loop does.
export { openBackend } from "./backend/backends.ts";
export type { Backend, BackendOptions, Tensor } from "./backend/backend.ts";
export { openModel } from "./model/families.ts";
export type { PointwiseModel } from "./model/family.ts";
export { openModelFolder } from "./model/folder.ts";
export type { EncodedPairs } from "./tokenize/pairs.ts";
export { Embedder, type EmbedderOptions } from "./embedder.ts";
