export { boxFolder } from "./box.ts";
export { NODE_FLAGS } from "./node-flags.ts";
export { runWorker } from "./run-worker.ts";
export { calibrationFolder, workerSettings } from "./settings.ts";
export { documentFailure } from "./verdict.ts";
export type { ModelSpec, WorkerSettings } from "./settings.ts";
