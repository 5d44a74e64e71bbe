import { RankfleetError } from "./contract/index.ts";
import type { ModelOffer, ReferenceOrigin } from "./registry.ts";

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
 * What is recorded of a model once a worker has joined: the worker's own facts, and the reference as it was, or
 * the worker's own logits if there is none yet. Lets a worker join only if it scores as the reference says: a
 * queue's scores must not depend on who took the job, nor on who else happens to live.
 *
 * @param recorded What the model's workers have agreed on, dead ones too.
 * @param now Redis's time.
 * @throws RankfleetError `model_mismatch` with both sides and the way out.
 */
export function agreeOnReference(
  candidate: ModelOffer,
  recorded: ModelOffer | undefined,
  now: number,
): ModelOffer {
  if (recorded?.reference === undefined) return withOwnReference(candidate, now);
  requireSameScores(candidate, recorded);
  return { ...candidate, reference: recorded.reference, referenceOf: originOf(recorded) };
}

/** What is recorded of a model whose reference the worker replaces. */
export function withOwnReference(candidate: ModelOffer, now: number): ModelOffer {
  if (candidate.reference === undefined) return candidate;
  const { revision, dtype } = candidate;
  return { ...candidate, referenceOf: { revision, dtype, recordedAt: Math.round(now) } };
}

/** An older worker's record says only who joined last. */
function originOf({ referenceOf, revision, dtype }: ModelOffer): ReferenceOrigin {
  return referenceOf ?? { revision, dtype };
}

function requireSameScores(candidate: ModelOffer, recorded: ModelOffer): void {
  const [mine, theirs] = [candidate.reference, recorded.reference];
  if (mine === undefined || theirs === undefined) return;
  const origin = originOf(recorded);
  const mean = theirs.reduce((sum, logit) => sum + logit, 0) / theirs.length;
  const spread = Math.sqrt(
    theirs.reduce((sum, logit) => sum + (logit - mean) ** 2, 0) / theirs.length,
  );
  const share = (dtype: string): number => TOLERANCE[dtype] ?? OTHER_DTYPES;
  const tolerance = 1e-3 + spread * Math.max(share(candidate.dtype), share(origin.dtype));
  const difference = Math.max(...theirs.map((logit, pair) => Math.abs(logit - mine[pair]!)));
  if (mine.length === theirs.length && difference <= tolerance) return;
  const { model, revision, dtype } = candidate;
  const when =
    origin.recordedAt === undefined ? "" : ` on ${new Date(origin.recordedAt).toISOString()}`;
  throw new RankfleetError(
    "model_mismatch",
    `this worker's ${model} (revision ${revision}, ${dtype}) scores the calibration pairs up to ${difference.toPrecision(2)} off the reference that revision ${origin.revision}, ${origin.dtype}, recorded for ${model}${when} (allowed ${tolerance.toPrecision(2)}). ` +
      `Serve it under another name, or, if it is to take that one's place under this name, start it once with --replace-reference`,
    { field: "model" },
  );
}
