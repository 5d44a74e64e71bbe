import { setTimeout as sleep } from "node:timers/promises";
import { Reranker } from "@rankfleet/core";
import { FleetRun } from "../fleet-run.ts";
import { modelFor } from "../models/model-for.ts";
import { EmptyQueue } from "../peers/empty-queue.ts";
import { median, percentile, progress, type Suite } from "../suite.ts";
import { requestsOf, WORKLOADS, type Request } from "../workloads.ts";

/** Of 100 requests of one document, all at once: V8 compiles what it has seen some thousand times, as in a fleet that has been at work. */
const BURSTS = 60;
/** Of 100 requests, one at a time. */
const WARM_UP_ROUNDS = 2;
/** Between two requests: what the one leaves to be done after its answer must not be in the next one's way. */
const PAUSE_MS = 4;

/**
 * idle: one request at a time, through the fleet, in process, and through a BullMQ queue that does nothing. trickle: a request every 50 ms on average.
 * burst: 100 requests at once.
 */
export const latency: Suite = async ({ model, dtype, threads }) => {
  const folder = await modelFor(model, dtype);
  const requests = requestsOf(WORKLOADS["uniform"]!, 100 * 50).map(({ query, documents }) => ({
    query,
    documents: documents.slice(0, 10),
  }));
  const local = await Reranker.load(folder, { device: "cpu", dtype, threads });
  const fleet = await FleetRun.start({
    models: `bench=${folder}`,
    model: "bench",
    workers: 1,
    threads,
    env: { RANKFLEET_DTYPE: dtype },
  });
  const empty = await EmptyQueue.start();
  try {
    const throughFleet = async (request: Request): Promise<number> => {
      const start = performance.now();
      await fleet.client.rerank(request);
      return performance.now() - start;
    };
    const inProcess = async (request: Request): Promise<number> => {
      const start = performance.now();
      await local.score({ texts: request });
      return performance.now() - start;
    };
    const ways = {
      fleet: throughFleet,
      inProcess,
      empty: (request: Request) => empty.run(request),
    };
    const inTurns = async (): Promise<Record<keyof typeof ways, number[]>> => {
      const ms = { fleet: [] as number[], inProcess: [] as number[], empty: [] as number[] };
      for (const request of requests) {
        for (const way of ["fleet", "inProcess", "empty"] as const) {
          await sleep(PAUSE_MS);
          ms[way].push(await ways[way](request));
        }
      }
      return ms;
    };
    const small = requests.map(({ query, documents }) => ({
      query,
      documents: documents.slice(0, 1),
    }));
    for (const way of ["fleet", "inProcess", "empty"] as const) {
      for (let burst = 0; burst < BURSTS; burst++) await Promise.all(small.map(ways[way]));
    }
    for (let rounds = 0; rounds < WARM_UP_ROUNDS; rounds++) await inTurns();
    progress("latency: warm");
    const idle = await inTurns();
    progress("latency: idle done");
    const trickling: Promise<number>[] = [];
    for (const [index, request] of requests.entries()) {
      trickling.push(throughFleet(request));
      await sleep([5, 20, 50, 125][index % 4]);
    }
    const trickle = await Promise.all(trickling);
    progress("latency: trickle done");
    const burst = await Promise.all(requests.map(throughFleet));
    const row = (name: string, values: readonly number[]): (string | number)[] => [
      name,
      median(values).toFixed(2),
      percentile(values, 0.95).toFixed(2),
    ];
    const added = median(idle.fleet) - median(idle.inProcess);
    return {
      what: `10 documents of 90 words; model ${model} ${dtype}, ${threads} inference thread${threads === 1 ? "" : "s"}`,
      table: [
        ["", "p50 ms", "p95 ms"],
        row("idle, in process", idle.inProcess),
        row("idle, fleet", idle.fleet),
        row("trickle, a request every 50 ms", trickle),
        row("burst, 100 requests at once", burst),
        ["added by SDK and queue, idle", added.toFixed(2), ""],
        row("idle, a BullMQ queue that does nothing", idle.empty),
      ],
      ratios: { idleAddedP50Ms: added },
      runs: { idle, trickle, burst },
    };
  } finally {
    await fleet.stop();
    await empty.stop();
    await local.close();
  }
};
