import { readSettings } from "@rankfleet/service";
import { runWorker } from "./run-worker.ts";
import { workerSettings } from "./settings.ts";

/** The worker by itself, set by environment variables alone; `rankfleet worker` adds flags. */
try {
  await runWorker(readSettings(workerSettings, { flags: {}, env: process.env }));
} catch (error) {
  process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`);
  process.exit(1);
}
