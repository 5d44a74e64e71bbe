import { availableParallelism, cpus } from "node:os";
import { boxFolder } from "@rankfleet/worker";
import { BareLoop } from "./bare-loop.ts";
import { FleetRun } from "./fleet-run.ts";
import { mixedWorkload } from "./workload.ts";

/** End to end against the limit, alternating in one run; prints JSON. See bench/README.md. */
const ROUNDS = 5;
const THREADS = availableParallelism();
const folder = process.argv[2] ?? boxFolder();
const requests = mixedWorkload(200);
const pairs = requests.reduce((sum, request) => sum + request.documents.length, 0);

const bare = await BareLoop.start(folder, requests, THREADS);
const fleet = await FleetRun.start(folder, THREADS);
await bare.run();
await fleet.run(requests.slice(0, 50));

const rounds: { bare: number; fleet: number }[] = [];
for (let round = 0; round < ROUNDS; round++) {
  rounds.push({ bare: pairs / (await bare.run()), fleet: pairs / (await fleet.run(requests)) });
}
await fleet.stop();
await bare.stop();

const median = (values: readonly number[]): number =>
  values.toSorted((a, b) => a - b)[values.length >> 1]!;
const report = {
  endToEndOverLimit: median(rounds.map((round) => round.fleet / round.bare)),
  pairsPerSecond: {
    bareLoop: Math.round(median(rounds.map((round) => round.bare))),
    endToEnd: Math.round(median(rounds.map((round) => round.fleet))),
  },
  rounds,
  workload: `${requests.length} requests of 50 documents, 5 to 130 words`,
  threads: THREADS,
  cpu: cpus()[0]?.model,
  node: process.version,
};
process.stdout.write(`${JSON.stringify(report, undefined, 2)}\n`);
