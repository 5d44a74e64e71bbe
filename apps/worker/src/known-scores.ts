import type { KeptFailure, ScoreCache } from "@rankfleet/core";
import type { PoisonList, RedisScoreCache } from "@rankfleet/queue";
import { coreFailure } from "./verdict.ts";

/** What need not be scored, or must not be. */
export function knownScores(scores: RedisScoreCache | undefined, poison: PoisonList): ScoreCache {
  const failureOf = (digest: string): KeptFailure | undefined => {
    const failure = poison.failureOf(digest);
    return failure === undefined ? undefined : { failure: coreFailure(failure) };
  };
  return {
    get isIdle() {
      return scores === undefined && poison.isEmpty;
    },
    get: async (digests) => {
      const known = (await scores?.get(digests)) ?? [];
      return digests.map((digest, index) => known[index] ?? failureOf(digest));
    },
    put: scores && ((all) => scores.put(all)),
  };
}

/**
 * Reads the share of documents that a cache knew, of those asked for since the last reading; while none is asked for, the
 * last share stands. Undefined before the first.
 */
export function hitRatio(scores: Pick<RedisScoreCache, "counts">): () => number | undefined {
  let last = { asked: 0, found: 0 };
  let ratio: number | undefined;
  return () => {
    const { asked, found } = scores.counts;
    if (asked > last.asked) ratio = (found - last.found) / (asked - last.asked);
    last = { asked, found };
    return ratio;
  };
}
