import { rmSync } from "node:fs";
import { mkdtemp, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** A folder of core's simulated model: latency from a cost model, no arithmetic. `{}`: no limit. */
export async function simulatedModel(cost: Readonly<Record<string, number>>): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), "rankfleet-bench-simulated-"));
  if (folders.push(folder) === 1) process.once("exit", removeFolders);
  const config = { model_type: "rankfleet-simulated", rankfleet: { simulated: cost } };
  await writeFile(join(folder, "config.json"), JSON.stringify(config));
  return folder;
}

const folders: string[] = [];

function removeFolders(): void {
  for (const folder of folders) rmSync(folder, { recursive: true, force: true });
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
