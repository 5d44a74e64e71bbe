import type { RerankClient } from "@rankfleet/sdk";
import { FleetRun } from "../fleet-run.ts";
import { shortRequests, simulatedModel } from "../simulated-model.ts";
import { percentile, progress, type Suite } from "../suite.ts";

const PAIRS_PER_SECOND = 2000;
/** Of a job: 25 ms of the device. */
const DOCUMENTS = 50;
/** Jobs of the flood: the device has work for a minute. */
const FLOOD = 2400;
const LONE = 100;
const BURST = 50;
const LANES = ["interactive", "standard", "bulk"] as const;

/** What one tenant's flood does to another's latency in the same lane: to lone requests, and to a burst. */
export const tenants: Suite = async () => {
  const runs = [];
  for (const lane of LANES) {
    const folder = await simulatedModel({ pairs_per_second: PAIRS_PER_SECOND });
    const models = `simulated=${folder}`;
    const fleet = await FleetRun.start({ models, model: "simulated", workers: 1, threads: 1 });
    try {
      const { client } = fleet;
      await fleet.run(shortRequests(100, DOCUMENTS));
      const lone = async (): Promise<number[]> => loneRequests(client, lane);
      const burst = async (): Promise<number[]> => burstOf(client, lane);
      const alone = { lone: await lone(), burst: await burst() };
      let queued = 0;
      for (const request of shortRequests(FLOOD, DOCUMENTS)) {
        await client.enqueue({ ...request, tenant: "flood", priority: lane });
        queued += DOCUMENTS;
      }
      progress(`tenants: ${queued} pairs of a flood in the ${lane} lane`);
      runs.push({ lane, alone, flooded: { lone: await lone(), burst: await burst() } });
    } finally {
      await fleet.stop();
    }
  }
  const rows = runs.flatMap(({ lane, alone, flooded }) =>
    (["lone", "burst"] as const).map((what) => {
      const [before, behind] = [percentile(alone[what], 0.95), percentile(flooded[what], 0.95)];
      return { lane, what, before, behind, ratio: behind / before };
    }),
  );
  return {
    what: `simulated device of ${PAIRS_PER_SECOND} pairs/s; one tenant's requests of ${DOCUMENTS} documents, alone and behind ${FLOOD} jobs of another's`,
    table: [
      ["lane", "requests", "p95 ms alone", "p95 ms behind the flood", "ratio"],
      ...rows.map(({ lane, what, before, behind, ratio }) => [
        lane,
        what === "lone" ? "one at a time" : `${BURST} at once`,
        before.toFixed(0),
        behind.toFixed(0),
        ratio.toFixed(2),
      ]),
    ],
    ratios: { tenantP95OverAlone: Math.max(...rows.map(({ ratio }) => ratio)) },
    runs,
  };
};

type Lane = (typeof LANES)[number];

async function loneRequests(client: RerankClient, lane: Lane): Promise<number[]> {
  const latencies: number[] = [];
  for (let i = 0; i < LONE; i++) {
    latencies.push(await timed(client, lane));
    await new Promise((resolve) => setTimeout(resolve, 50 + 17 * (i % 5)));
  }
  return latencies;
}

function burstOf(client: RerankClient, lane: Lane): Promise<number[]> {
  return Promise.all(Array.from({ length: BURST }, () => timed(client, lane)));
}

let asked = 0;
/** Milliseconds of one request. */
async function timed(client: RerankClient, lane: Lane): Promise<number> {
  const id = asked++;
  const documents = Array.from({ length: DOCUMENTS }, (_, i) =>
    `document ${id} ${i}`.padEnd(64, "x"),
  );
  const start = performance.now();
  await client.rerank({ query: `guest ${id}`, documents, tenant: "guest", priority: lane });
  return performance.now() - start;
}
