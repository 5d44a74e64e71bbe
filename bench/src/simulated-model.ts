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

/**
 * Requests of documents of 64 bytes, no two alike: passages cut from one long page, as a pipeline's chunker does it. Padding
 * each to its length would take a tenth of this process's time, which is the producer's.
 */
export function* shortRequests(
  requests: number,
  documents: number,
): Generator<{ query: string; documents: string[] }> {
  let at = 0;
  for (let i = 0; i < requests; i++) {
    const passages: string[] = [];
    for (let j = 0; j < documents; j++) {
      passages.push(PAGE.slice(at, at + PASSAGE_BYTES));
      // A prime, so that no passage begins where another did before the page has been read 61 times.
      at = (at + 61) % (PAGE.length - PASSAGE_BYTES);
    }
    yield { query: `query ${i}`, documents: passages };
  }
}

const PASSAGE_BYTES = 64;
/** 4 million letters in no order. */
const PAGE = Buffer.from(
  Uint8Array.from({ length: 1 << 22 }, (_, i) => 97 + ((Math.imul(i, 2_654_435_761) >>> 13) % 26)),
).toString("latin1");
