import { readFile } from "node:fs/promises";
import { FleetRun } from "../fleet-run.ts";
import { shortRequests, simulatedModel } from "../simulated-model.ts";
import { median, percentile, progress, type Suite } from "../suite.ts";

const LABEL = "simulated devices: latency without arithmetic";
const PAIRS_PER_SECOND = 2000;
/** Of a job. */
const DOCUMENTS = 100;
const ROUND_SECONDS = 10;
/**
 * A worker here does so little that V8 has compiled its code only after minutes, and 16 of them share two cores with V8's
 * compilers: after a minute these still take a seventh of the time.
 */
const MOST_WARM_UPS = 14;
/** Without a faster one. */
const WARM_AFTER_ROUNDS = 2;

async function startSimulated(cost: Record<string, number>, workers: number): Promise<FleetRun> {
  const folder = await simulatedModel(cost);
  return FleetRun.start({ models: `simulated=${folder}`, model: "simulated", workers, threads: 1 });
}

/** 1 → 32 worker processes of 2,000 pairs/s each. */
export const scaling: Suite = async ({ rounds }) => {
  const runs: { workers: number; pairsPerSecond: number[] }[] = [];
  for (const workers of [1, 2, 4, 8, 16, 32]) {
    const fleet = await startSimulated({ pairs_per_second: PAIRS_PER_SECOND }, workers);
    const pairsPerSecond: number[] = [];
    try {
      const window = { maxPairsInFlight: 2000 * workers + 10_000 };
      const requests = ROUND_SECONDS * (PAIRS_PER_SECOND / DOCUMENTS) * workers;
      const round = async (): Promise<number> =>
        DOCUMENTS * (await fleet.steadyRate(shortRequests(requests, DOCUMENTS), requests, window));
      await warmUp(round);
      while (pairsPerSecond.length < Math.min(rounds, 3)) pairsPerSecond.push(await round());
    } finally {
      await fleet.stop();
    }
    progress(`scaling: ${workers} workers: ${median(pairsPerSecond).toFixed(0)} pairs/s`);
    runs.push({ workers, pairsPerSecond });
  }
  const speed = (workers: number): number =>
    median(runs.find((run) => run.workers === workers)!.pairsPerSecond);
  return {
    what: `${LABEL} of ${PAIRS_PER_SECOND} pairs/s; ${DOCUMENTS} documents a job`,
    table: [
      ["workers", "pairs/s", "÷ workers × one"],
      ...runs.map(({ workers }) => [
        workers,
        speed(workers).toFixed(0),
        (speed(workers) / (workers * speed(1))).toFixed(3),
      ]),
    ],
    ratios: { scaling16: speed(16) / (16 * speed(1)) },
    runs,
  };
};

/** Rounds until {@link WARM_AFTER_ROUNDS} in a row are less than 1 % faster than the fastest before them. */
async function warmUp(round: () => Promise<number>): Promise<void> {
  let [best, noFaster] = [0, 0];
  for (let warmUps = 0; warmUps < MOST_WARM_UPS && noFaster < WARM_AFTER_ROUNDS; warmUps++) {
    const rate = await round();
    noFaster = rate < 1.01 * best ? noFaster + 1 : 0;
    best = Math.max(best, rate);
  }
}

/** What SDK, Redis and workers carry when devices cost nothing. */
export const capacity: Suite = async ({ rounds }) => {
  const fleet = await startSimulated({}, 1);
  const documents = DOCUMENTS;
  // A worker has 12,800 pairs in hand; twice as many wait. More would outlive the young generation of the SDK's heap.
  const window = { maxPairsInFlight: 40_000 };
  const pairsPerSecond: number[] = [];
  try {
    // V8 compiles for some eight seconds.
    await fleet.run(shortRequests(20_000, documents), window);
    for (let round = 0; round < rounds; round++) {
      const requests = 8000;
      const seconds = await fleet.run(shortRequests(requests, documents), window);
      pairsPerSecond.push((requests * documents) / seconds);
      progress(`capacity: ${pairsPerSecond.at(-1)!.toFixed(0)} pairs/s`);
    }
  } finally {
    await fleet.stop();
  }
  return {
    what: `${LABEL}, without a limit; ${documents} documents of 64 bytes a job, one worker`,
    table: [
      ["", "pairs/s"],
      ["SDK → Redis (AOF) → worker → SDK", median(pairsPerSecond).toFixed(0)],
    ],
    ratios: { simulatedPairsPerSecond: median(pairsPerSecond) },
    runs: { pairsPerSecond },
  };
};

/** How long an interactive request takes while a million bulk pairs are queued. */
export const interactive: Suite = async () => {
  const fleet = await startSimulated({ pairs_per_second: PAIRS_PER_SECOND }, 1);
  const latencies: number[] = [];
  try {
    await fleet.run(shortRequests(40, 100));
    const batchTotals = async (): Promise<{ count: number; seconds: number }> => ({
      count: await fleet.metric("rankfleet_batch_duration_seconds_count"),
      seconds: await fleet.metric("rankfleet_batch_duration_seconds_sum"),
    });
    const before = await batchTotals();
    const { client } = fleet;
    let queued = 0;
    for (const request of shortRequests(10_000, 100)) {
      await client.enqueue({ ...request, priority: "bulk" });
      if (++queued % 2000 === 0) progress(`interactive: ${queued * 100} bulk pairs queued`);
    }
    // Of bulk alone: an interactive batch is smaller.
    const after = await batchTotals();
    const batchMs = (1000 * (after.seconds - before.seconds)) / (after.count - before.count);
    for (let i = 0; i < 400; i++) {
      const documents = Array.from({ length: 10 }, (_, j) => `interactive document ${i} ${j}`);
      const start = performance.now();
      await client.rerank({ query: `interactive ${i}`, documents, priority: "interactive" });
      latencies.push(performance.now() - start);
      await new Promise((resolve) => setTimeout(resolve, 7 * (i % 5)));
    }
    const p = (share: number): number => percentile(latencies, share);
    return {
      what: `${LABEL} of ${PAIRS_PER_SECOND} pairs/s; requests of 10 documents while 1,000,000 bulk pairs are queued`,
      table: [
        ["", "p50 ms", "p95 ms", "one batch ms", "p95 ÷ batch"],
        [
          "interactive",
          p(0.5).toFixed(1),
          p(0.95).toFixed(1),
          batchMs.toFixed(1),
          (p(0.95) / batchMs).toFixed(2),
        ],
      ],
      ratios: { interactiveP95OverBatch: p(0.95) / batchMs },
      runs: { latencies, batchMs },
    };
  } finally {
    await fleet.stop();
  }
};

/** A million pairs through `rerankMany`: does memory stay flat? */
export const stream: Suite = async () => {
  const fleet = await startSimulated({ pairs_per_second: 20_000 }, 1);
  const pairs = 1_000_000;
  const documents = 50;
  const samples: { done: number; sdk: number; worker: number }[] = [];
  try {
    let done = 0;
    for await (const { error } of fleet.client.rerankMany(
      shortRequests(pairs / documents, documents),
      // With more under way what lives outlives the young generation: RSS then shows V8's lazy collections
      // of the old one, a saw of 80 MiB and some seconds, and no leak.
      { maxPairsInFlight: 4000 },
    )) {
      if (error !== undefined) throw error;
      done += documents;
      if (done % (pairs / 200) !== 0) continue;
      const worker = await residentBytes(fleet.pids[0]!);
      samples.push({ done, sdk: process.memoryUsage.rss(), worker });
      if (samples.length % 20 === 0) progress(`stream: ${done} pairs`);
    }
  } finally {
    await fleet.stop();
  }
  const tenth = (which: number, of: "sdk" | "worker"): number =>
    median(
      samples
        .filter(({ done }) => done > (which * pairs) / 10 && done <= ((which + 1) * pairs) / 10)
        .map((sample) => sample[of]),
    );
  const growth = {
    sdk: tenth(9, "sdk") / tenth(1, "sdk"),
    worker: tenth(9, "worker") / tenth(1, "worker"),
  };
  const mib = (bytes: number): string => `${(bytes / 2 ** 20).toFixed(0)} MiB`;
  return {
    what: `${LABEL} of 20,000 pairs/s; ${pairs} pairs through rerankMany`,
    table: [
      ["resident memory", "second tenth", "last tenth", "ratio"],
      ...(["sdk", "worker"] as const).map((of) => [
        of,
        mib(tenth(1, of)),
        mib(tenth(9, of)),
        growth[of].toFixed(3),
      ]),
    ],
    ratios: { rssGrowth: Math.max(growth.sdk, growth.worker) },
    runs: { samples },
  };
};

async function residentBytes(pid: number): Promise<number> {
  const status = await readFile(`/proc/${pid}/status`, "utf8");
  return 1024 * Number(/VmRSS:\s+(\d+)/u.exec(status)?.[1] ?? Number.NaN);
}
