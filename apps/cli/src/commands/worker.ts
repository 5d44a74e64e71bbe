import { addSettingsOptions, readSettings } from "@rankfleet/service";
import { workerSettings } from "@rankfleet/worker";
import type { Command } from "commander";

export function configureWorker(command: Command): void {
  addSettingsOptions(command, workerSettings);
  command
    .addHelpText(
      "after",
      `
Examples:
  rankfleet worker                                       the model in the box, on all cores
  rankfleet worker --redis redis://queue:6379 --threads 4
  rankfleet worker --model ./models/bge-reranker-base    a folder; jobs ask for "bge-reranker-base"
  rankfleet worker --model BAAI/bge-reranker-v2-m3=/models/bge --device cuda:0 --dtype fp16`,
    )
    .action(async (flags: Record<string, string | string[]>) => {
      const settings = readSettings(workerSettings, { flags, env: process.env });
      const { runWorker } = await import("@rankfleet/worker");
      await runWorker(settings);
    });
}
