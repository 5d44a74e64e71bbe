import { BareLoop } from "../bare-loop.ts";
import { FleetRun } from "../fleet-run.ts";
import { modelFor } from "../models/model-for.ts";
import { NaiveQueue } from "../peers/naive-queue.ts";
import { HYPOTHETICAL, REPLAYED, sortedPolicy, type Policy } from "../policies.ts";
import { keepOnFirstCores } from "../same-cores.ts";
import { median, progress, type BenchOptions, type Suite, type SuiteReport } from "../suite.ts";
import { requestsOf, WORKLOADS, type Request, type Workload } from "../workloads.ts";

const LIMIT = "bare loop, sorted";
const FLEET = "rankfleet";
const NAIVE = "BullMQ + transformers.js";
const IN_PROCESS = "transformers.js in process";

interface Measured {
  readonly pairsPerSecond: number;
  /** Absent where the contestant does not say. */
  readonly realOverPadded?: number | undefined;
}

/**
 * Every contestant on the same pairs, one after the other, round by round, and every other round backwards: the speed of a
 * virtual machine drifts by a third within a minute, so who is compared must run next to each other, and none always first.
 * From the first round on all compute on the same cores.
 *
 * @param withRivals Or the limit and rankfleet alone.
 */
export function throughputSuite(workload: Workload, withRivals = true): Suite {
  return async (options) => {
    const folder = await modelFor(options.model, options.dtype);
    const requests = await requestsFor(workload, folder, options);
    const contestants = await startAll(requests, folder, options, withRivals);
    const pairs = pairsOf(requests);
    const inTurn = Object.entries(contestants);
    const runs: Record<string, Measured[]> = Object.fromEntries(inTurn.map(([name]) => [name, []]));
    try {
      for (let round = 0; round <= options.rounds; round++) {
        for (const [name, contestant] of round % 2 === 0 ? inTurn : inTurn.toReversed()) {
          // Who stood idle while others ran finds its caches cold, which costs up to a twentieth of a round.
          await contestant.run(requests.slice(0, Math.ceil(requests.length / 8)));
          const { seconds, realOverPadded } = await contestant.run(requests);
          const measured = { pairsPerSecond: pairs / seconds, realOverPadded };
          // The first round warms up.
          if (round > 0) runs[name]!.push(measured);
          const label = round === 0 ? "warm-up" : `round ${round} of ${options.rounds}`;
          progress(
            `${workload.name}: ${label}: ${name}: ${measured.pairsPerSecond.toFixed(0)} pairs/s`,
          );
        }
        if (round === 0 && options.device === "cpu") keepOnSameCores(contestants, options.threads);
      }
    } finally {
      for (const contestant of Object.values(contestants)) await contestant.stop();
    }
    return report(workload, pairs, options, runs);
  };
}

function pairsOf(requests: readonly Request[]): number {
  return requests.reduce((sum, { documents }) => sum + documents.length, 0);
}

/** As many as keep the limit busy for about `seconds`. */
async function requestsFor(
  workload: Workload,
  folder: string,
  { dtype, device, threads, seconds }: BenchOptions,
): Promise<Request[]> {
  const some = requestsOf(workload, 64 * threads);
  const bare = await BareLoop.start({ folder, dtype, device }, some, threads);
  await bare.run(sortedPolicy(1024));
  const first = await bare.run(sortedPolicy(1024));
  await bare.stop();
  const sampled = pairsOf(some);
  return requestsOf(workload, Math.min(60_000, Math.ceil((seconds * sampled) / first.seconds)));
}

/** By now the threads that compute are the ones with most CPU time. */
function keepOnSameCores(contestants: Readonly<Record<string, Contestant>>, threads: number): void {
  const pids = new Set(Object.values(contestants).flatMap(({ pid }) => pid ?? []));
  const kept = [...pids].map((pid) => keepOnFirstCores(pid, threads));
  if (kept.includes(false)) {
    progress("no taskset here: who computes on a slower core than the others looks slower");
  }
}

interface Contestant {
  /** Of the process whose threads compute. */
  readonly pid?: number | undefined;
  /** @param requests The first ones of those that it was started for, or all. */
  run(
    requests: readonly Request[],
  ): Promise<{ seconds: number; realOverPadded?: number | undefined }>;
  stop(): Promise<void>;
}

async function startAll(
  requests: readonly Request[],
  folder: string,
  options: BenchOptions,
  withRivals: boolean,
): Promise<Record<string, Contestant>> {
  const { dtype, device, threads } = options;
  const bare = await BareLoop.start({ folder, dtype, device }, requests, threads);
  const limit = await bestSorted(bare, options);
  const replay = (policy: Policy): Contestant => ({
    pid: process.pid,
    run: (part) => bare.run(policy, pairsOf(part)),
    stop: () => bare.stop(),
  });
  return {
    [LIMIT]: replay(limit),
    [FLEET]: await fleetContestant(folder, options),
    ...Object.fromEntries(
      Object.entries(withRivals ? { ...REPLAYED, ...HYPOTHETICAL } : {}).map(([name, policy]) => [
        name,
        replay(policy),
      ]),
    ),
    ...(options.withPeers ? await peers(folder, options) : {}),
  };
}

/** Padded tokens of the limit's batches. */
const CPU_BATCHES = [128, 256, 512, 1024, 2048, 4096];
const GPU_BATCHES = [2048, 8192, 32_768, 131_072];

/** The limit must be one: the batch size that is fastest here. */
async function bestSorted(bare: BareLoop, { device, threads }: BenchOptions): Promise<Policy> {
  const isOnCpu = device === "cpu";
  const sizes = isOnCpu ? CPU_BATCHES : GPU_BATCHES;
  const policies = sizes.map((tokens) => sortedPolicy(tokens));
  await bare.run(sortedPolicy(1024)); // The first run is a cold one.
  if (isOnCpu) keepOnFirstCores(process.pid, threads);
  const best = sizes.map(() => Infinity);
  // There and back: a size may have had a neighbour beside it, and a limit chosen wrongly flatters us.
  for (const size of [...sizes.keys(), ...[...sizes.keys()].toReversed()]) {
    if (best[size]! < Infinity && best[size]! > 1.5 * Math.min(...best)) continue;
    const { seconds } = await bare.run(policies[size]!);
    progress(`limit: batches of ${sizes[size]!} padded tokens: ${seconds.toFixed(2)} s`);
    best[size] = Math.min(best[size]!, seconds);
  }
  return policies[best.indexOf(Math.min(...best))]!;
}

/** V8 compiles what it has seen some thousand times: a round of `mixed` has 150 jobs, and a fleet at work has had many more. */
const WARM_UP_JOBS = 6000;
const WARM_UP: Workload = { ...WORKLOADS["tiny"]!, documentsPerRequest: 1, words: () => 8 };

async function fleetContestant(
  folder: string,
  { dtype, device, threads }: BenchOptions,
): Promise<Contestant> {
  const fleet = await FleetRun.start({
    models: `bench=${folder}`,
    model: "bench",
    workers: 1,
    threads,
    env: { RANKFLEET_DTYPE: dtype, RANKFLEET_DEVICE: device },
  });
  await fleet.run(requestsOf(WARM_UP, WARM_UP_JOBS));
  const tokens = async (kind: string): Promise<number> =>
    fleet.metric(`rankfleet_tokens_total{model="bench",kind="${kind}"}`);
  return {
    pid: fleet.pids[0],
    async run(part) {
      const [real, padded] = [await tokens("real"), await tokens("padded")];
      const seconds = await fleet.run(part);
      const realOverPadded = ((await tokens("real")) - real) / ((await tokens("padded")) - padded);
      return { seconds, realOverPadded };
    },
    stop: () => fleet.stop(),
  };
}

async function peers(
  folder: string,
  { dtype, threads }: BenchOptions,
): Promise<Record<string, Contestant>> {
  const naive = await NaiveQueue.start({ folder, dtype, threads });
  // Imported where it is wanted: it brings an image library along.
  const { TransformersJs } = await import("../peers/transformers-js.ts");
  const inProcess = await TransformersJs.load({ folder, dtype, threads });
  return {
    [NAIVE]: {
      pid: naive.pid,
      run: async (part) => ({ seconds: await naive.run(part) }),
      stop: () => naive.stop(),
    },
    [IN_PROCESS]: {
      async run(part) {
        const start = performance.now();
        for (const request of part) await inProcess.score(request);
        return { seconds: (performance.now() - start) / 1000 };
      },
      stop: () => inProcess.close(),
    },
  };
}

function report(
  workload: Workload,
  pairs: number,
  { model, dtype, device, threads }: BenchOptions,
  runs: Readonly<Record<string, readonly Measured[]>>,
): SuiteReport {
  const speed = (name: string): number => median(runs[name]!.map((run) => run.pairsPerSecond));
  const over = (name: string): number =>
    median(
      runs[FLEET]!.map((run, round) => run.pairsPerSecond / runs[name]![round]!.pairsPerSecond),
    );
  const padding = (name: string): string => {
    const shares = runs[name]!.flatMap((run) => run.realOverPadded ?? []);
    return shares.length === 0 ? "–" : `${(100 * median(shares)).toFixed(1)} %`;
  };
  const rivals = Object.keys(REPLAYED).filter((name) => runs[name] !== undefined);
  return {
    what: `${workload.what}; ${pairs} pairs, model ${model} ${dtype} on ${device}, ${threads} inference thread${threads === 1 ? "" : "s"} each`,
    table: [
      ["contestant", "pairs/s", "real ÷ padded", "rankfleet ÷ it"],
      ...Object.keys(runs).map((name) => [
        name,
        speed(name).toFixed(0),
        padding(name),
        over(name).toFixed(2),
      ]),
    ],
    ratios: {
      endToEndOverLimit: over(LIMIT),
      ...(rivals.length === 0 ? {} : { overBestPolicy: Math.min(...rivals.map(over)) }),
      realOverPadded: median(runs[FLEET]!.map((run) => run.realOverPadded!)),
      ...(runs[NAIVE] === undefined ? {} : { overNaivePeer: over(NAIVE) }),
    },
    runs: { workload: workload.name, pairs, model, dtype, device, threads, contestants: runs },
  };
}
