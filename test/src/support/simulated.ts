import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** A folder of a simulated model (core's `backend/simulated.ts`), which takes its time and computes nothing. */
export function simulatedFolder(cost: Readonly<Record<string, number>> = {}): string {
  const folder = mkdtempSync(join(tmpdir(), "rankfleet-simulated-"));
  process.once("exit", () => rmSync(folder, { recursive: true, force: true }));
  const config = { model_type: "rankfleet-simulated", rankfleet: { simulated: cost } };
  writeFileSync(join(folder, "config.json"), JSON.stringify(config));
  return folder;
}
