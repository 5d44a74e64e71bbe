import { activate, folderName, Reranker } from "@rankfleet/core";
import { boxFolder, documentFailure } from "@rankfleet/worker";
import type { Command } from "commander";
import { shorten, table } from "../print.ts";

export function configureScore(command: Command): void {
  command
    .argument("<query>")
    .argument("<documents...>")
    .option("--model <folder>", "model folder", boxFolder())
    .option("--dtype <dtype>", "which of the folder's weights to load")
    .option("--device <device>", "cpu, cuda, webgpu … or auto", "auto")
    .option("--json", "print JSON")
    .addHelpText(
      "after",
      `
Example:
  rankfleet score "when does the library close" \\
    "The library was built in 1911." "The library closes at eight in the evening."`,
    )
    .action(score);
}

interface ScoreFlags {
  readonly model: string;
  readonly dtype?: string;
  readonly device: string;
  readonly json?: boolean;
}

async function score(query: string, documents: string[], flags: ScoreFlags): Promise<void> {
  const reranker = await Reranker.load(flags.model, { device: flags.device, dtype: flags.dtype });
  try {
    const scored = await reranker.score({ texts: { query, documents } });
    const results = scored.documents.map((document, index) =>
      document.state === "scored"
        ? {
            index,
            score: activate(document.logit, reranker.facts.activation),
            logit: document.logit,
            tokens: document.tokens,
            truncated: document.isTruncated,
          }
        : { index, error: documentFailure(document.failure) },
    );
    results.sort((a, b) => (b.logit ?? -Infinity) - (a.logit ?? -Infinity));
    if (results.every(({ error }) => error !== undefined)) process.exitCode = 1;
    const { revision, dtype } = reranker.facts;
    const model = folderName(flags.model);
    if (flags.json) {
      process.stdout.write(`${JSON.stringify({ model, revision, dtype, results })}\n`);
      return;
    }
    const rows = results.map((result) => [
      result.error?.code ?? result.score?.toFixed(4) ?? "",
      result.logit?.toFixed(3) ?? "",
      String(result.tokens ?? ""),
      shorten(documents[result.index]!, 80),
    ]);
    process.stdout.write(`${table(["score", "logit", "tokens", "document"], rows)}\n`);
    for (const { index, error } of results) {
      if (error !== undefined) process.stderr.write(`document ${index + 1}: ${error.message}\n`);
    }
    process.stdout.write(`\n${model} ${revision} ${dtype} on ${reranker.devices[0]!.name}\n`);
  } finally {
    await reranker.close();
  }
}
