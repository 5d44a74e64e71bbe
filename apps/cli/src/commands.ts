import type { Command } from "commander";
import { addDemo } from "./commands/demo.ts";
import { addDev } from "./commands/dev.ts";
import { addQueue } from "./commands/queue.ts";
import { addRun } from "./commands/run.ts";
import { addScore } from "./commands/score.ts";
import { addWorker } from "./commands/worker.ts";

/** The one list of commands, in the order of `--help`. */
export const commands: readonly ((program: Command) => void)[] = [
  addDemo,
  addDev,
  addWorker,
  addRun,
  addScore,
  addQueue,
];
