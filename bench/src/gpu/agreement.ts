import { Reranker } from "@rankfleet/core";
import { modelFor, type Dtype, type ModelName } from "../models/model-for.ts";
import { requestsOf, WORKLOADS, type Request } from "../workloads.ts";

/** How far a device's logits are from those of the CPU in fp32, or of the model in the box, which has int8 alone. */
export interface Agreement {
  readonly model: ModelName;
  readonly dtype: Dtype;
  /** What the CPU scored with. */
  readonly reference: Dtype;
  readonly pairs: number;
  readonly largestDifference: number;
  /** Least and greatest logit on the CPU: what a difference is to be seen against. */
  readonly logits: readonly [number, number];
}

const PAIRS = 50;

/** The same texts, of lengths as in the mixed workload, scored by the whole reranker on either. */
export async function agreement(
  model: ModelName,
  dtype: Dtype,
  device: string,
): Promise<Agreement> {
  const requests = requestsOf(WORKLOADS["mixed"]!, PAIRS);
  const reference = model === "box" ? dtype : "fp32";
  const onCpu = await logitsOf(requests, model, reference, "cpu");
  const there = await logitsOf(requests, model, dtype, device);
  return {
    model,
    dtype,
    reference,
    pairs: onCpu.length,
    largestDifference: Math.max(...onCpu.map((logit, i) => Math.abs(logit - there[i]!))),
    logits: [Math.min(...onCpu), Math.max(...onCpu)],
  };
}

async function logitsOf(
  requests: readonly Request[],
  model: ModelName,
  dtype: Dtype,
  device: string,
): Promise<number[]> {
  const reranker = await Reranker.load(await modelFor(model, dtype), { dtype, device });
  try {
    const scored = await Promise.all(requests.map((texts) => reranker.score({ texts })));
    return scored
      .flatMap(({ documents }) => documents)
      .map((document) => (document.state === "scored" ? document.logit : Number.NaN));
  } finally {
    await reranker.close();
  }
}
