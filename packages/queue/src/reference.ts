import { RankfleetError } from "./contract/index.ts";
import type { ModelOffer } from "./registry.ts";

/** What a worker says of itself when it wants to serve a model. */
type Candidate = Pick<ModelOffer, "model" | "revision" | "dtype" | "reference">;

/**
 * How far a dtype's logits may be from those of the same weights in another one, as a share of the
 * spread of the reference logits. Measured on cross-encoders of MiniLM and BGE size: float16 differs by
 * about a hundredth, 8-bit weights by some hundredths, 4-bit by a tenth or two.
 */
const TOLERANCE: Readonly<Record<string, number>> = {
  fp32: 0.002,
  simulated: 0,
  fp16: 0.03,
  w8: 0.1,
  int8: 0.25,
  uint8: 0.25,
  q8: 0.25,
  q4: 0.5,
  q4f16: 0.5,
  bnb4: 0.5,
};
const OTHER_DTYPES = 0.25;

/**
 * Lets a worker join those that serve a model only if it scores as they do: a queue's scores must not
 * depend on who took the job.
 *
 * @param recorded What the model's workers have agreed on.
 * @throws RankfleetError `model_mismatch` with both sides and the way out.
 */
export function requireSameScores(candidate: Candidate, recorded: ModelOffer): void {
  const [mine, theirs] = [candidate.reference, recorded.reference];
  if (mine === undefined || theirs === undefined) return;
  const mean = theirs.reduce((sum, logit) => sum + logit, 0) / theirs.length;
  const spread = Math.sqrt(
    theirs.reduce((sum, logit) => sum + (logit - mean) ** 2, 0) / theirs.length,
  );
  const share = (dtype: string): number => TOLERANCE[dtype] ?? OTHER_DTYPES;
  const tolerance = 1e-3 + spread * Math.max(share(candidate.dtype), share(recorded.dtype));
  const difference = Math.max(...theirs.map((logit, pair) => Math.abs(logit - mine[pair]!)));
  if (mine.length === theirs.length && difference <= tolerance) return;
  const { model, revision, dtype } = candidate;
  throw new RankfleetError(
    "model_mismatch",
    `this worker's ${model} (revision ${revision}, ${dtype}) scores the calibration pairs up to ${difference.toPrecision(2)} off those of the workers that serve ${model} now (revision ${recorded.revision}, ${recorded.dtype}; allowed ${tolerance.toPrecision(2)}). ` +
      `Serve it under another name, or stop the others first, or, for a new revision under the old name, start it with --replace-reference`,
    { field: "model" },
  );
}
