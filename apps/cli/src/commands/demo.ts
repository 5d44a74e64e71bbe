import { randomUUID } from "node:crypto";
import { connect, removeKeys } from "@rankfleet/queue";
import { RerankClient, type RerankResult } from "@rankfleet/sdk";
import type { Command } from "commander";
import { readDemoCollection, toRequests, type DemoCollection } from "../demo/collection.ts";
import { makeReport, showQueries, showReport } from "../demo/report.ts";
import { startFleet, type Fleet } from "../fleet.ts";
import { interruptSignal } from "../interrupt.ts";
import { startProgress } from "../progress.ts";
import { traced } from "../traced.ts";

export function configureDemo(command: Command): void {
  command
    .option("--json", "print only JSON on standard output")
    .addHelpText(
      "after",
      `
Uses REDIS_URL if it is set (under a prefix of its own, removed afterwards), else a Redis that it starts and stops.

Examples:
  rankfleet demo
  rankfleet demo --json | jq .ndcg10`,
    )
    .action((flags: { json?: boolean }) => traced("demo", () => runDemo(flags)));
}

const WORKERS = 2;

async function runDemo(flags: { json?: boolean }): Promise<void> {
  const signal = interruptSignal();
  const say = (line: string): void => void process.stderr.write(`${line}\n`);
  const redis = process.env["REDIS_URL"] || undefined;
  const prefix = `rankfleet-demo-${randomUUID().slice(0, 8)}`;
  let fleet: Fleet | undefined;
  try {
    say(`Starting ${redis === undefined ? "a Redis and " : ""}${WORKERS} workers …`);
    const [started, collection] = await Promise.all([
      startFleet({ workers: WORKERS, redis, prefix, models: ["box"], signal, say }).then(
        (ready) => (fleet = ready),
      ),
      readDemoCollection(),
    ]);
    const { results, seconds } = await rerankAll(started.redis, prefix, collection, signal);
    const { workers, threadsPerWorker } = started;
    const report = makeReport(collection, results, {
      seconds,
      counters: await started.counters(),
      workers,
      threadsPerWorker,
    });
    const shown = flags.json
      ? JSON.stringify(report)
      : `\n${showQueries(collection, results)}\n\n${showReport(report)}\n`;
    process.stdout.write(`${shown}\n`);
  } catch (error) {
    if (!signal.aborted) throw error;
    say("\nstopped");
  } finally {
    await fleet?.stop();
    if (redis !== undefined) await tidyUp(redis, prefix);
  }
}

async function rerankAll(
  redis: string,
  prefix: string,
  demo: DemoCollection,
  signal: AbortSignal,
): Promise<{ results: Map<string, RerankResult>; seconds: number }> {
  const client = new RerankClient({ redis, prefix });
  const progress = startProgress({ total: demo.collection.queries.length, unit: "queries" });
  const results = new Map<string, RerankResult>();
  const start = performance.now();
  try {
    let pairs = 0;
    for await (const { request, result, error } of client.rerankMany(toRequests(demo), {
      signal,
    })) {
      if (error !== undefined) throw error;
      results.set(String(request.metadata!["query"]), result);
      pairs += result.usage.pairs;
      progress.update(results.size, pairs);
    }
    return { results, seconds: (performance.now() - start) / 1000 };
  } finally {
    progress.stop();
    await client.close();
  }
}

/** A Redis of the user's own is left as it was. */
async function tidyUp(url: string, prefix: string): Promise<void> {
  const redis = await connect(url, "producer");
  try {
    await removeKeys(redis, prefix);
  } finally {
    redis.disconnect();
  }
}
