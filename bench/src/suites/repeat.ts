import { FleetRun } from "../fleet-run.ts";
import { modelFor } from "../models/model-for.ts";
import { median, progress, type Suite } from "../suite.ts";
import { requestsOf, WORKLOADS, type Request } from "../workloads.ts";

/** The same pairs again: what the fleet's score cache costs beside scoring them. */
export const repeat: Suite = async ({ model, dtype, threads, rounds }) => {
  const folder = await modelFor(model, dtype);
  const pairs = model === "box" ? 10_000 : 600;
  const requests = requestsOf(WORKLOADS["mixed"]!, pairs * (rounds + 1));
  const perRound = requests.length / (rounds + 1);
  const fleet = await FleetRun.start({
    models: `bench=${folder}`,
    model: "bench",
    workers: 1,
    threads,
    env: { RANKFLEET_DTYPE: dtype, RANKFLEET_SCORE_CACHE_PAIRS: "1000000" },
  });
  const runs: { first: number; again: number }[] = [];
  try {
    for (let round = 0; round <= rounds; round++) {
      const some = requests.slice(round * perRound, (round + 1) * perRound);
      const first = await fleet.run(some);
      const again = (await fleet.run(repeated(some))) / TIMES;
      if (round > 0) runs.push({ first, again });
      progress(`repeat: ${first.toFixed(2)} s, again ${again.toFixed(2)} s`);
    }
    const found = await fleet.metric("rankfleet_pairs_cached_total");
    if (found < TIMES * pairs * rounds)
      throw new Error(`only ${found} pairs came from the score cache`);
  } finally {
    await fleet.stop();
  }
  const cost = median(runs.map(({ first, again }) => again / first));
  return {
    what: `${pairs} pairs of the mixed workload, and then ${TIMES} times again; model ${model} ${dtype}`,
    table: [
      ["", "s"],
      ["first", median(runs.map((run) => run.first)).toFixed(2)],
      ["again, each time", median(runs.map((run) => run.again)).toFixed(3)],
      ["again ÷ first", cost.toFixed(4)],
    ],
    ratios: { repeatCost: cost },
    runs,
  };
};

/** A single time of cached pairs is over before the pipeline has filled. */
const TIMES = 10;

function* repeated(requests: readonly Request[]): Generator<Request> {
  for (let time = 0; time < TIMES; time++) yield* requests;
}
