import {
  agreement,
  documentText,
  formatQrels,
  type Judgments,
  judgePairs,
  type PairToJudge,
  readCollection,
  readRun,
  RUBRIC,
  trecOrder,
} from "@rankfleet/eval";
import { InvalidArgumentError, type Command } from "commander";
import { requireFit } from "../eval/first-stage.ts";
import { interruptSignal } from "../interrupt.ts";
import { positive } from "../options.ts";
import { requireWritable, writeWhole } from "../output-file.ts";
import { count } from "../print.ts";
import { startProgress } from "../progress.ts";

export function configureJudge(command: Command): void {
  command
    .argument("[folder]", "required: a BEIR style folder")
    .option(
      "--endpoint <url>",
      "required: an OpenAI-compatible API, up to its version: http://127.0.0.1:8000/v1",
      httpUrl,
    )
    .option("--llm <name>", "required: the endpoint's name of the model")
    .option("--output <file>", "required: qrels to write")
    .option(
      "--run <file>",
      "judge the best of this TREC run; default: the pairs that people have judged",
    )
    .option("--depth <number>", "documents of the run for each query", positive, 10)
    .option("--cache <file>", "answers so far; default: OUTPUT.cache.jsonl")
    .option("--concurrency <number>", "requests at a time", positive, 8)
    .option("--json", "print the figures as JSON")
    .option("--show-rubric", "print the prompt's rubric, and do nothing else")
    .addHelpText(
      "after",
      `
The key, if the endpoint wants one, is read from OPENAI_API_KEY. Stopped at any point, the same command goes on where
it was. A busy endpoint is asked again after what its Retry-After says, at most 2 minutes; long waits are said.
Labels of a model are no substitute for people's: see the agreement, where there are some.

Example:
  rankfleet judge my-data --endpoint http://127.0.0.1:8000/v1 --llm qwen3-8b --run bm25.trec --output llm.qrels`,
    )
    .action(async (folder: string | undefined, flags: Partial<JudgeFlags>) => {
      if (flags.showRubric) {
        process.stdout.write(`${RUBRIC}\n`);
        return;
      }
      if (folder === undefined) command.error("error: missing required argument 'folder'");
      for (const name of ["endpoint", "llm", "output"] as const) {
        if (flags[name] === undefined)
          command.error(`error: required option '--${name}' not given`);
      }
      await judge(folder, flags as JudgeFlags);
    });
}

function httpUrl(text: string): string {
  if (URL.canParse(text) && /^https?:$/u.test(new URL(text).protocol)) return text;
  throw new InvalidArgumentError("must be a URL like http://127.0.0.1:8000/v1.");
}

interface JudgeFlags {
  readonly endpoint: string;
  readonly llm: string;
  readonly output: string;
  readonly run?: string;
  readonly depth: number;
  readonly cache?: string;
  readonly concurrency: number;
  readonly json?: boolean;
  readonly showRubric?: boolean;
}

async function judge(folder: string, flags: JudgeFlags): Promise<void> {
  const signal = interruptSignal();
  await requireWritable({ "--output": flags.output });
  const collection = await readCollection(folder, { mayLackJudgments: flags.run !== undefined });
  const pairs = await pairsOf(collection, flags);
  if (pairs.length === 0) {
    const message = "there is nothing to judge: no query has a document that is in the corpus";
    throw Object.assign(new Error(message), { code: "judge_empty" });
  }
  const progress = startProgress({ total: pairs.length, unit: "pairs" });
  let done = 0;
  try {
    const judged = await judgePairs(pairs, {
      endpoint: { url: flags.endpoint, model: flags.llm, apiKey: process.env["OPENAI_API_KEY"] },
      cacheFile: flags.cache ?? `${flags.output}.cache.jsonl`,
      concurrency: flags.concurrency,
      signal,
      onJudged: () => progress.update(++done, done),
      onWait: (reason) => progress.waiting(reason),
    });
    progress.stop();
    const labels: Judgments = new Map();
    for (const { query, document, grade } of judged) {
      if (grade === undefined) continue;
      labels.set(query, (labels.get(query) ?? new Map<string, number>()).set(document, grade));
    }
    await writeWhole(flags.output, () => formatQrels(labels));
    if (labels.size === 0) process.exitCode = 1;
    const unanswered = judged.filter(({ problem }) => problem !== undefined);
    const unlabelled = judged.filter(({ grade }) => grade === undefined).length;
    const unclear = unlabelled - unanswered.length;
    const cached = judged.filter(({ isCached }) => isCached).length;
    const [example] = unanswered;
    if (example !== undefined) {
      process.stderr.write(
        `pairs without an answer, asked about the next time: ${count(unanswered.length)}, e.g. "${example.document}" of "${example.query}": ${example.problem}\n`,
      );
    }
    const agreed = agreement(collection.judgments, labels);
    if (flags.json) {
      process.stdout.write(
        `${JSON.stringify({ pairs: pairs.length, unclear, unanswered: unanswered.length, cached, agreement: agreed })}\n`,
      );
      return;
    }
    process.stdout.write(
      `${count(judged.length - unlabelled)} labels in ${flags.output} (${count(cached)} from the cache, ${count(unclear)} answers without a clear grade)\n` +
        (agreed.pairs === 0
          ? "none of these pairs has a human label to compare with\n"
          : `agreement with ${count(agreed.pairs)} human labels: ${(100 * agreed.observed).toFixed(0)} % equal, Cohen's κ ${agreed.kappa.toFixed(2)}, relevant or not κ ${agreed.binaryKappa.toFixed(2)}\n`),
    );
  } catch (error) {
    if (!signal.aborted) throw error;
    process.stderr.write("\nstopped; the same command goes on from here\n");
  } finally {
    progress.stop();
  }
}

async function pairsOf(
  { queries, documents, judgments }: Awaited<ReturnType<typeof readCollection>>,
  { run: file, depth }: JudgeFlags,
): Promise<PairToJudge[]> {
  const texts = new Map(documents.map((document) => [document.id, documentText(document)]));
  const run = file === undefined ? undefined : await readRun(file);
  if (run !== undefined) {
    requireFit(file!, run, { documents, queries, judgments }, (line) =>
      process.stderr.write(`${line}\n`),
    );
  }
  return queries.flatMap(({ id: query, text: queryText }) => {
    const ids =
      run === undefined
        ? [...(judgments.get(query)?.keys() ?? [])]
        : trecOrder(run.get(query) ?? [])
            .slice(0, depth)
            .map(({ id }) => id);
    return ids.flatMap((document) => {
      const text = texts.get(document);
      return text === undefined ? [] : [{ query, document, queryText, documentText: text }];
    });
  });
}
