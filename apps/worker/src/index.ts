export { boxFolder } from "./box.ts";
export { runWorker } from "./run-worker.ts";
export { calibrationFolder, workerSettings } from "./settings.ts";
export type { ModelSpec, WorkerSettings } from "./settings.ts";
