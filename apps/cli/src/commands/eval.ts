import { openModelFolder } from "@rankfleet/core";
import {
  adviseDepth,
  type Candidates,
  type Collection,
  type DepthAdvice,
  depthGrid,
  formatRun,
  htmlReport,
  type Measure,
  parseMeasure,
  plotDepth,
  readCollection,
  type ReportData,
  rerankedTo,
} from "@rankfleet/eval";
import { InvalidArgumentError, Option, type Command } from "commander";
import { compareMeasures } from "../eval/compare-measures.ts";
import { show, toJson } from "../eval/figures.ts";
import { depthWithin, type FirstStageSpec, firstStageSpec, retrieve } from "../eval/first-stage.ts";
import { modelFolder, scoreRun, type ScoringOptions } from "../eval/score-run.ts";
import { interruptSignal } from "../interrupt.ts";
import { positive, prefixOption } from "../options.ts";
import { requireWritable, writeEach } from "../output-file.ts";
import { count } from "../print.ts";
import { traced } from "../traced.ts";

export function configureEval(command: Command): void {
  command
    .argument(
      "<folder>",
      "a BEIR style folder: corpus.jsonl, queries.jsonl, qrels.tsv or qrels/test.tsv",
    )
    .addOption(
      new Option("--first-stage <stage>", "bm25, dense, hybrid or run:FILE (a TREC run)")
        .argParser(firstStageSpec)
        .default({ kind: "bm25" }, "bm25"),
    )
    .option("--embedding <folder>", "embedding model of dense and hybrid")
    .option("--depth <number>", "candidates to rerank, at most 10,000", positive, 50)
    .option(
      "--model <model>",
      "box or a model folder; with --redis, the id of a model that is served",
      "box",
    )
    .option(
      "--cascade <model>",
      "a second, stronger model: how many of the first one's best it needs",
    )
    .option("--cascade-dtype <dtype>", "in this process: which of that one's weights")
    .option("--against <run>", "a TREC run to compare with too, such as another model's --run-out")
    .option("--redis <url>", "rerank through the fleet there; else in this process")
    .addOption(prefixOption())
    .option("--device <device>", "in this process: cpu, cuda, webgpu … or auto", "auto")
    .option("--dtype <dtype>", "in this process: which of the folder's weights")
    .option("--threads <number>", "in this process: CPU threads, at most one a core", positive)
    .addOption(
      new Option("--long-documents <how>", "cut them, or score parts and take the best")
        .choices(["truncate", "split"])
        .default("truncate"),
    )
    .addOption(
      new Option("--measures <list>", "comma-separated: ndcg@k, mrr@k, map, recall@k, p@k")
        .argParser(measures)
        .default(measures(DEFAULT_MEASURES), DEFAULT_MEASURES),
    )
    .option("--qrels <file>", "judgments, BEIR's or TREC's, instead of the folder's")
    .option("--topics <file>", "TREC topics, instead of queries.jsonl")
    .option("--max-queries <number>", "only the first so many judged queries", positive)
    .option(
      "--json <file>",
      "write all figures, ndcg@10 and recall@100 always among them; - for standard output",
    )
    .option("--report <file>", "write one HTML page: table, depth plot, queries that won and lost")
    .option("--plot <file>", "write the depth plot as SVG")
    .option("--run-out <file>", "write the reranked TREC run")
    .option("--first-stage-out <file>", "write the first stage's TREC run")
    .addHelpText(
      "after",
      `
A model that has learnt to use the first stage's scores gets them; the figures then show it with and without.
Documents below --depth stay behind the reranked ones in the first stage's order.

Examples:
  rankfleet eval my-data                                         does reranking help here, and how deep?
  rankfleet eval my-data --depth 200 --report report.html        see the queries that won and lost
  rankfleet eval my-data --first-stage run:bm25.trec --model ./models/bge --json figures.json
  rankfleet eval my-data --model ./models/bge --against box.trec is it better than the run that the box wrote?
  rankfleet eval my-data --cascade ./models/bge                  how many of the box's best a strong model needs
  rankfleet eval my-data --redis redis://queue:6379 --model bge  through a running fleet`,
    )
    .action((folder: string, flags: EvalFlags) => traced("eval", () => runEval(folder, flags)));
}

const DEFAULT_MEASURES = "ndcg@10,mrr@10,map,recall@10,recall@100,p@10";

interface EvalFlags extends Omit<ScoringOptions, "signal"> {
  readonly firstStage: FirstStageSpec;
  readonly embedding?: string;
  readonly against?: string;
  readonly cascade?: string;
  readonly cascadeDtype?: string;
  readonly measures: readonly Measure[];
  readonly qrels?: string;
  readonly topics?: string;
  readonly maxQueries?: number;
  readonly json?: string;
  readonly report?: string;
  readonly plot?: string;
  readonly runOut?: string;
  readonly firstStageOut?: string;
}

async function runEval(folder: string, flags: EvalFlags): Promise<void> {
  const signal = interruptSignal();
  const say = (line: string): void => void process.stderr.write(`${line}\n`);
  try {
    await requireWritable({
      "--json": flags.json,
      "--report": flags.report,
      "--plot": flags.plot,
      "--run-out": flags.runOut,
      "--first-stage-out": flags.firstStageOut,
    });
    if (flags.cascade !== undefined && flags.redis === undefined) {
      await openModelFolder(modelFolder(flags.cascade), flags.cascadeDtype);
    }
    const whole = await readCollection(folder, flags);
    signal.throwIfAborted();
    const collection = limited(whole, flags.maxQueries);
    const { documents, judgments } = collection;
    requireAnswers(whole, collection, say);
    say(`${count(documents.length)} documents, ${count(judgments.size)} judged queries`);
    const firstStage = await retrieve(flags.firstStage, collection, {
      embedding: flags.embedding,
      signal,
      say,
    });
    const other =
      flags.against === undefined
        ? undefined
        : await retrieve({ run: flags.against }, collection, { embedding: undefined, signal, say });
    const depth = depthWithin(firstStage, flags.depth, say);
    const scored = await scoreRun(firstStage, collection, { ...flags, depth, signal });
    if (scored.failed > 0) {
      say(`${count(scored.failed)} pairs could not be scored, and stand behind the reranked ones:`);
      for (const [code, { count: of, example }] of scored.failures) {
        say(`  ${count(of)} ${code}, e.g. ${example}`);
      }
    }
    const candidates = scored.fused ?? scored.alone;
    const reranked = rerankedTo(candidates, depth);
    const alone = scored.fused && rerankedTo(scored.alone, depth);
    const runs = { firstStage, reranked, alone };
    const { rows, asked } = await compareMeasures(runs, judgments, flags.measures, { signal, say });
    const pair = other && { firstStage: other, reranked, alone: undefined };
    const compared = pair && (await compareMeasures(pair, judgments, flags.measures, { signal }));
    const { pairsPerSecond } = scored;
    const advice = await adviseDepth(scored.alone, judgments, {
      scoresOf: scored.fusedOf,
      depths: depthGrid(depth),
      pairsPerSecond: scored.documentsPerSecond,
      signal,
    });
    const cascade =
      flags.cascade === undefined
        ? undefined
        : await adviseCascade(flags.cascade, candidates, collection, {
            ...flags,
            depth,
            dtype: flags.cascadeDtype,
            signal,
          });
    const settings = {
      "first stage": "run" in flags.firstStage ? flags.firstStage.run : flags.firstStage.kind,
      model: scored.model,
      depth: String(depth),
      queries: String(rows[0]!.firstStage.byQuery.size),
      "pairs/s": pairsPerSecond === undefined ? "–" : count(pairsPerSecond),
    };
    const report: ReportData = {
      title: `${folder}: reranking`,
      settings,
      rows: asked,
      advice,
      queries: collection.queries,
      documents: new Map(documents.map((document) => [document.id, document])),
      judgments,
      firstStage,
      reranked,
      candidates,
    };
    const against = compared && { run: flags.against!, rows: compared.asked };
    const findings = { against, advice, cascade, scored, depth };
    const figures = toJson({ ...findings, rows });
    const unwritten = await writeEach({
      "--json": [flags.json, () => [`${JSON.stringify(figures, null, 2)}\n`]],
      "--report": [flags.report, () => [htmlReport(report)]],
      "--plot": [flags.plot, () => [plotDepth(advice)]],
      "--run-out": [flags.runOut, () => formatRun(reranked, "rankfleet")],
      "--first-stage-out": [flags.firstStageOut, () => formatRun(firstStage, "first-stage")],
    });
    if (flags.json !== "-") process.stdout.write(`${show({ ...findings, rows: asked })}\n`);
    if (unwritten !== undefined) throw unwritten;
  } catch (error) {
    if (!signal.aborted) throw error;
    say("\nstopped");
  }
}

/** Says what judgments have no counterpart in the data; ends where no relevant document is left. */
function requireAnswers(
  whole: Collection,
  { judgments }: Collection,
  say: (line: string) => void,
): void {
  const asked = new Set(whole.queries.map(({ id }) => id));
  const unasked = [...whole.judgments.keys()].filter((id) => !asked.has(id));
  if (unasked.length > 0) {
    say(`${count(unasked.length)} judged queries are not among the queries, e.g. "${unasked[0]}"`);
  }
  const ids = new Set(whole.documents.map(({ id }) => id));
  const judged = [...judgments.values()].flatMap((grades) => [...grades.keys()]);
  const missing = judged.filter((id) => !ids.has(id));
  if (missing.length > 0) {
    say(
      `${count(missing.length)} of ${count(judged.length)} judged documents are not in the corpus, e.g. "${missing[0]}"`,
    );
  }
  const isAnswered = [...judgments.values()].some((grades) =>
    [...grades].some(([id, grade]) => grade > 0 && ids.has(id)),
  );
  if (isAnswered) return;
  const message =
    "no judged query has a relevant document (a grade above 0) in the corpus: nothing to measure";
  throw Object.assign(new Error(message), { code: "judgments_invalid" });
}

/** Only judged queries matter, and their judgments alone, so that figures are over the same ones. */
function limited(collection: Collection, maxQueries: number | undefined): Collection {
  const judged = collection.queries
    .filter(({ id }) => collection.judgments.has(id))
    .slice(0, maxQueries);
  const judgments = new Map(judged.map(({ id }) => [id, collection.judgments.get(id)!]));
  return { ...collection, queries: judged, judgments };
}

/**
 * The first model's order is the strong model's first stage, so depth there is the cascade's `keep`; as in a request,
 * documents bring their first stage's own scores along, and what is not kept is not in the result.
 */
async function adviseCascade(
  model: string,
  first: Candidates,
  collection: Collection,
  options: ScoringOptions,
): Promise<DepthAdvice> {
  const order = rerankedTo(first, options.depth);
  const run = new Map(
    [...order].map(([query, list]) => {
      const scores = new Map(first.get(query)!.map(({ id, firstStage }) => [id, firstStage]));
      const best = list.toSorted((a, b) => b.score - a.score).slice(0, options.depth);
      return [query, best.map(({ id }) => ({ id, score: scores.get(id)! }))];
    }),
  );
  const strong = await scoreRun(run, collection, { ...options, model });
  return adviseDepth(strong.alone, collection.judgments, {
    scoresOf: strong.fusedOf,
    pairsPerSecond: strong.documentsPerSecond,
    dropsRest: true,
  });
}

function measures(list: string): Measure[] {
  try {
    return list.split(",").map((name) => parseMeasure(name.trim()));
  } catch (error) {
    throw new InvalidArgumentError((error as Error).message);
  }
}
