import { connect } from "@rankfleet/queue";
import { RerankClient } from "@rankfleet/sdk";
import type { Command } from "commander";
import { BulkFiles } from "../run/bulk-files.ts";
import { startFleet, type Fleet } from "../fleet.ts";
import { interruptSignal } from "../interrupt.ts";
import { count } from "../print.ts";
import { startProgress, type Progress } from "../progress.ts";
import { positive, prefixOption, redisOption } from "../options.ts";
import { traced } from "../traced.ts";

export function configureRun(command: Command): void {
  command
    .argument("<input>", 'JSON lines, one request each: {"id", "query", "documents", …}')
    .requiredOption(
      "--output <file>",
      "results, one line for each request; what fails goes beside it: scores.jsonl, scores.errors.jsonl",
    )
    .option(
      "--resume",
      "go on after a stop: what is in the output is not done again, nor what failed for the request's own fault",
    )
    .option("--overwrite", "start anew over an output that exists")
    .option("--ordered", "write results in the order of the input")
    .option("--model <id>", "model of requests that name none", "box")
    .option("--top-n <number>", "results for each request, of requests that do not say", positive)
    .option("--local <workers>", "start a Redis and so many workers just for this run", positive)
    .addOption(redisOption())
    .addOption(prefixOption())
    .addHelpText(
      "after",
      `
Any field of a request may stand in a line: topN, returnDocuments, longDocuments, priority … (docs/sdk.md)
While no worker serves the model, it is waited for up to 30 s; then its requests fail, to be done again with --resume.

Examples:
  rankfleet run pairs.jsonl --output scores.jsonl --redis redis://queue:6379
  rankfleet run pairs.jsonl --output scores.jsonl --resume      after a crash, or Ctrl-C
  rankfleet run pairs.jsonl --output scores.jsonl --local 2     no Redis, no workers needed`,
    )
    .action((input: string, flags: RunFlags) => {
      if (flags.resume && flags.overwrite) {
        command.error("error: --resume goes on with the output, --overwrite starts anew: say one");
      }
      if (flags.local !== undefined && command.getOptionValueSource("redis") === "cli") {
        command.error("error: --local starts a Redis of its own: leave it out, or --redis");
      }
      return traced("run", () => run(input, flags));
    });
}

interface RunFlags {
  readonly output: string;
  readonly resume?: boolean;
  readonly overwrite?: boolean;
  readonly ordered?: boolean;
  readonly model: string;
  readonly topN?: number;
  readonly local?: number;
  readonly redis: string;
  readonly prefix: string;
}

/** How long a fleet that is just starting may take to offer the model; `--local` has started already. */
const MODEL_WAIT_MS = 30_000;

async function run(input: string, flags: RunFlags): Promise<void> {
  const signal = interruptSignal();
  await BulkFiles.check(input, flags);
  let files: BulkFiles | undefined;
  let fleet: Fleet | undefined;
  let client: RerankClient | undefined;
  let progress: Progress | undefined;
  try {
    if (flags.local === undefined) {
      // A Redis that is not there at all is one error now, and not one for each line.
      (await connect(flags.redis, "producer")).disconnect();
    } else {
      fleet = await startFleet({
        workers: flags.local,
        signal,
        say: (line) => process.stderr.write(`${line}\n`),
      });
    }
    // Only now: a command that cannot start must not have emptied an earlier one's results.
    files = await BulkFiles.open(input, flags);
    client = new RerankClient({
      redis: fleet?.redis ?? flags.redis,
      prefix: fleet === undefined ? flags.prefix : "rankfleet",
      model: flags.model,
      modelWaitMs: fleet === undefined ? MODEL_WAIT_MS : 0,
      warnAboveDocuments: Infinity,
      onWait: ({ reason }) => progress?.waiting(reason),
    });
    progress = startProgress({ total: files.lines, unit: "requests", done: files.ended });
    await stream(client, files, flags, { signal, progress });
  } catch (error) {
    if (!signal.aborted) throw error;
    const how =
      files === undefined
        ? "stopped before anything was written"
        : `stopped; go on with: rankfleet ${resumingArguments()}`;
    process.stderr.write(`\n${how}\n`);
  } finally {
    await files?.close();
    await client?.close();
    await fleet?.stop();
  }
}

/** This command's own words, with --resume and as a shell takes them. */
function resumingArguments(): string {
  const own = process.argv.slice(2).filter((word) => !["--overwrite", "--resume"].includes(word));
  const quoted = own.map((word) =>
    /^[\w@%+=:,./-]+$/u.test(word) ? word : `'${word.replaceAll("'", String.raw`'\''`)}'`,
  );
  return [...quoted, "--resume"].join(" ");
}

async function stream(
  client: RerankClient,
  files: BulkFiles,
  flags: RunFlags,
  { signal, progress }: { readonly signal: AbortSignal; readonly progress: Progress },
): Promise<void> {
  const start = performance.now();
  let pairs = 0;
  try {
    const requests = files.requests({ topN: flags.topN });
    for await (const outcome of client.rerankMany(requests, {
      isOrdered: flags.ordered ?? false,
      signal,
    })) {
      await files.write(outcome);
      if (outcome.error === undefined) pairs += outcome.result.usage.pairs;
      progress.update(files.ended, pairs);
    }
  } finally {
    progress.stop();
  }
  const seconds = (performance.now() - start) / 1000;
  const failed = files.failed > 0 ? `, ${count(files.failed)} failed: see ${files.errorsPath}` : "";
  process.stderr.write(
    `${count(files.ended)} requests, ${count(pairs)} pairs in ${seconds.toFixed(1)} s (${count(pairs / seconds)} pairs/s)${failed}\n`,
  );
  if (files.failed > 0) process.exitCode = 3;
}
