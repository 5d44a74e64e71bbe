import { rmSync } from "node:fs";
import { mkdtemp, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** A folder of core's simulated model: latency from a cost model, no arithmetic. `{}`: no limit. */
export async function simulatedModel(cost: Readonly<Record<string, number>>): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), "rankfleet-bench-simulated-"));
  process.once("exit", () => rmSync(folder, { recursive: true, force: true }));
  const config = { model_type: "rankfleet-simulated", rankfleet: { simulated: cost } };
  await writeFile(join(folder, "config.json"), JSON.stringify(config));
  return folder;
}

/** Requests of documents of 64 bytes, no two alike. */
export function* shortRequests(
  requests: number,
  documents: number,
): Generator<{ query: string; documents: string[] }> {
  for (let i = 0; i < requests; i++) {
    yield {
      query: `query ${i}`,
      documents: Array.from({ length: documents }, (_, j) =>
        `document ${i * documents + j} `.padEnd(64, "x"),
      ),
    };
  }
}
