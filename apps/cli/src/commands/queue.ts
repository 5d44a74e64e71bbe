import { connect, JobProducer, ModelRegistry, RedisClock } from "@rankfleet/queue";
import { keysFor } from "@rankfleet/queue/contract";
import type { Command } from "commander";
import { table } from "../print.ts";
import { prefixOption, redisOption } from "../options.ts";

export function configureQueue(queue: Command): void {
  queue
    .command("stats")
    .description("Jobs and workers of each model.")
    .addOption(redisOption())
    .addOption(prefixOption())
    .option("--json", "print JSON")
    .addHelpText("after", "\nExample:\n  rankfleet queue stats --redis redis://queue:6379")
    .action(stats);
}

async function stats(flags: { redis: string; prefix: string; json?: boolean }): Promise<void> {
  const redis = await connect(flags.redis, "producer");
  const keys = keysFor(flags.prefix);
  const producer = new JobProducer(redis, keys);
  const clock = await RedisClock.start(redis);
  try {
    const registry = new ModelRegistry(redis, keys);
    const offers = [...(await registry.offers()).values()];
    const models = await Promise.all(
      offers.map(async ({ model, revision, dtype }) => ({
        model,
        revision,
        dtype,
        workers: await registry.liveWorkers(model, clock.now()),
        ...(await producer.counts(model)),
      })),
    );
    if (flags.json) {
      process.stdout.write(`${JSON.stringify({ models })}\n`);
    } else if (models.length === 0) {
      process.stdout.write(
        "no worker has offered a model here yet: start one with rankfleet worker\n",
      );
    } else {
      const head = [
        "model",
        "revision",
        "dtype",
        "workers",
        "waiting",
        "active",
        "delayed",
        "failed",
      ];
      const rows = models.map((m) => [
        m.model,
        m.revision,
        m.dtype,
        m.workers,
        m.waiting,
        m.active,
        m.delayed,
        m.failed,
      ]);
      process.stdout.write(`${table(head, rows)}\n`);
    }
  } finally {
    clock.stop();
    await producer.close();
    redis.disconnect();
  }
}
