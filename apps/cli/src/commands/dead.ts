import { once } from "node:events";
import { JobNotFoundError, RerankClient } from "@rankfleet/sdk";
import type { Command } from "commander";
import { requireWritable, writeWhole } from "../output-file.ts";
import { positive, prefixOption, redisOption } from "../options.ts";
import { count, shorten, table } from "../print.ts";

export function configureDead(dead: Command): void {
  const add = (name: string, description: string, examples: string[]): Command =>
    dead
      .command(name)
      .description(description)
      .addOption(redisOption())
      .addOption(prefixOption())
      .addHelpText("after", `\nExamples:\n${examples.map((line) => `  ${line}`).join("\n")}`);

  add("list", "Jobs that were given up, the latest first, and pairs that are not tried again.", [
    "rankfleet dead list",
    "rankfleet dead list --model box --limit 1000 --json",
  ])
    .option("--model <id>", "model", "box")
    .option("--limit <number>", "most jobs to show", positive, 50)
    .option("--json", "print JSON")
    .action((flags: ListFlags) => withClient(flags, (client) => list(client, flags)));

  add("show", "One of them, with its texts.", ["rankfleet dead show 3f2c…@box"])
    .argument("<id>")
    .action((id: string, flags: Flags) => withClient(flags, (client) => show(client, id)));

  const addForMany = (
    name: string,
    description: string,
    examples: string[],
    act: (client: RerankClient, ids: string[], flags: ManyFlags) => Promise<void>,
  ): Command =>
    add(name, description, examples)
      .argument("[ids...]")
      .option("--all", "every dead letter of the model")
      .option("--model <id>", "model, with --all", "box")
      .option("--code <code>", "only those with this code, with --all")
      .action((ids: string[], flags: ManyFlags, command: Command) => {
        if (flags.all !== true && ids.length === 0) {
          command.error("error: name the ids, or say --all");
        }
        if (ids.length > 0 && (flags.all || flags.code !== undefined)) {
          command.error("error: ids go without --all and --code: those say which of all are meant");
        }
        return withClient(flags, (client) => act(client, ids, flags));
      });

  addForMany(
    "redrive",
    "Have jobs tried again, with all their attempts.",
    [
      "rankfleet dead redrive 3f2c…@box 81ab…@box",
      "rankfleet dead redrive --all --model box --code worker_failed",
    ],
    redrive,
  );

  addForMany(
    "discard",
    "Forget jobs and their texts.",
    [
      "rankfleet dead discard 3f2c…@box",
      "rankfleet dead discard --all --model box --code payload_corrupt",
    ],
    discard,
  );

  add("export", "All of a model's with their texts, as JSON lines.", [
    "rankfleet dead export --output dead.jsonl",
  ])
    .option("--model <id>", "model", "box")
    .option("--output <file>", "where to; default standard output")
    .action((flags: ExportFlags) => withClient(flags, (client) => exportAll(client, flags)));

  add("forgive", "Let a pair be tried again by the revision that failed on it.", [
    "rankfleet dead forgive --model box --revision 8db9170d214a --digest 0Jx…",
  ])
    .option("--model <id>", "model", "box")
    .requiredOption("--revision <revision>", "as `dead list` shows it")
    .requiredOption("--digest <digest>", "as `dead list` shows it")
    .action((flags: ForgiveFlags) => withClient(flags, (client) => forgive(client, flags)));
}

interface Flags {
  readonly redis: string;
  readonly prefix: string;
}
interface ListFlags extends Flags {
  readonly model: string;
  readonly limit: number;
  readonly json?: boolean;
}
interface ManyFlags extends Flags {
  readonly model: string;
  readonly all?: boolean;
  readonly code?: string;
}
interface ExportFlags extends Flags {
  readonly model: string;
  readonly output?: string;
}
interface ForgiveFlags extends Flags {
  readonly model: string;
  readonly revision: string;
  readonly digest: string;
}

async function withClient(
  { redis, prefix }: Flags,
  act: (client: RerankClient) => Promise<void>,
): Promise<void> {
  const client = new RerankClient({ redis, prefix });
  try {
    await act(client);
  } finally {
    await client.close();
  }
}

async function list(client: RerankClient, { model, limit, json }: ListFlags): Promise<void> {
  const [jobs, pairs] = await Promise.all([
    client.deadLetters.list(model, { limit }),
    client.deadLetters.pairs(model),
  ]);
  if (json) {
    process.stdout.write(`${JSON.stringify({ jobs, pairs })}\n`);
    return;
  }
  if (jobs.length === 0 && pairs.length === 0) {
    process.stdout.write(`nothing of ${model} was given up\n`);
    return;
  }
  if (jobs.length > 0) {
    const rows = jobs.map((job) => [
      job.id,
      job.code,
      new Date(job.at).toISOString(),
      job.documents ?? "",
      job.attempts,
      shorten(job.message, 60),
    ]);
    const head = ["job", "code", "given up at", "documents", "attempts", "why"];
    process.stdout.write(`${table(head, rows)}\n`);
  }
  if (pairs.length > 0) {
    const rows = pairs.map(({ revision, digest, failure, job, index }) => [
      digest,
      revision,
      failure.code,
      `${job}@${model} documents[${index}]`,
      shorten(failure.message, 60),
    ]);
    const head = ["pair not tried again", "revision", "code", "found in", "why"];
    process.stdout.write(`${jobs.length > 0 ? "\n" : ""}${table(head, rows)}\n`);
  }
}

async function show(client: RerankClient, id: string): Promise<void> {
  const found = await client.deadLetters.get(id);
  if (found === undefined) throw notFound(id);
  process.stdout.write(`${JSON.stringify(found, undefined, 2)}\n`);
}

async function redrive(client: RerankClient, ids: string[], flags: ManyFlags): Promise<void> {
  const outcomes = new Map<string, number>();
  for (const id of await chosen(client, ids, flags)) {
    const outcome = await client.deadLetters.redrive(id);
    outcomes.set(outcome, (outcomes.get(outcome) ?? 0) + 1);
    if (outcome !== "redriven") process.stderr.write(`${id}: ${outcome.replaceAll("_", " ")}\n`);
  }
  process.stdout.write(`${count(outcomes.get("redriven") ?? 0)} redriven\n`);
  if ([...outcomes.keys()].some((outcome) => outcome !== "redriven")) process.exitCode = 1;
}

async function discard(client: RerankClient, ids: string[], flags: ManyFlags): Promise<void> {
  let discarded = 0;
  for (const id of await chosen(client, ids, flags)) {
    if (await client.deadLetters.discard(id)) discarded++;
    else {
      process.stderr.write(`${id}: not found\n`);
      process.exitCode = 1;
    }
  }
  process.stdout.write(`${count(discarded)} discarded\n`);
}

/** The ids that were named, or all that `--all` means. */
async function chosen(
  client: RerankClient,
  ids: string[],
  { all, model, code }: ManyFlags,
): Promise<string[]> {
  if (all !== true) return ids;
  const known = await client.deadLetters.ids(model);
  if (code === undefined) return known;
  const some: string[] = [];
  for (let offset = 0; offset < known.length; offset += PAGE) {
    const page = await client.deadLetters.list(model, { offset, limit: PAGE });
    some.push(...page.filter((letter) => letter.code === code).map(({ id }) => id));
  }
  return some;
}

async function exportAll(client: RerankClient, { model, output }: ExportFlags): Promise<void> {
  await requireWritable({ "--output": output });
  let written = 0;
  async function* lines(): AsyncGenerator<string> {
    for await (const letter of client.deadLetters.export(model)) {
      written++;
      yield `${JSON.stringify(letter)}\n`;
    }
  }
  if (output === undefined) {
    for await (const line of lines()) {
      if (!process.stdout.write(line)) await once(process.stdout, "drain");
    }
  } else {
    // Whole or not at all: it may stand where an earlier export does.
    await writeWhole(output, lines);
    process.stderr.write(`${count(written)} dead letters in ${output}\n`);
  }
}

async function forgive(client: RerankClient, flags: ForgiveFlags): Promise<void> {
  const wasListed = await client.deadLetters.forgive(flags.model, flags);
  if (!wasListed) throw notFound(flags.digest);
  process.stdout.write("will be tried again\n");
}

function notFound(what: string): JobNotFoundError {
  return new JobNotFoundError("job_not_found", `${what} is not there; rankfleet dead list`);
}

const PAGE = 1_000;
