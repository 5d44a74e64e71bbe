import type { DepthAdvice } from "./advise-depth.ts";

/** Whether any depth is better than none; so too where nothing is left without the reranker. */
export function doesHelp({ points, best, withoutReranking = -Infinity }: DepthAdvice): boolean {
  return points.some(({ depth, value }) => depth === best && value > withoutReranking);
}

/** The advice in a sentence or two. */
export function describeAdvice(advice: DepthAdvice): string {
  const at = (depth: number): string => {
    const { value, pairs, seconds } = advice.points.find((point) => point.depth === depth)!;
    const time = seconds === undefined ? "" : `, ${seconds.toFixed(1)} s`;
    return `${depth} (${advice.measure} ${value.toFixed(3)}, ${pairs.toLocaleString("en-US")} pairs${time})`;
  };
  const fall =
    advice.recallFallsFrom === undefined
      ? `${advice.recallMeasure} does not fall with depth here`
      : `from ${advice.recallFallsFrom} on ${advice.recallMeasure} is below its peak: scoring that many makes it worse`;
  if (!doesHelp(advice)) {
    return `Reranking does not help here: at no depth is ${advice.measure} above the first stage's ${advice.withoutReranking!.toFixed(3)}; the least harm at ${at(advice.best)}.`;
  }
  return advice.best === advice.cheapest
    ? `Best depth, and the cheapest within noise of it: ${at(advice.best)}; ${fall}.`
    : `Best depth: ${at(advice.best)}; the cheapest within noise of it: ${at(advice.cheapest)}; ${fall}.`;
}
