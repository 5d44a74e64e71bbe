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
    put: (all) => scores?.put(all),
  };
}
