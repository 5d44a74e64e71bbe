import { createHash } from "node:crypto";
import { appendFile } from "node:fs/promises";
import { readLines } from "../lines.ts";
import { complete, type ChatEndpoint } from "./chat-client.ts";
import { judgeMessages, parseGrade, RUBRIC_VERSION } from "./rubric.ts";

export interface PairToJudge {
  readonly query: string;
  readonly document: string;
  readonly queryText: string;
  readonly documentText: string;
}

export interface JudgedPair extends PairToJudge {
  /** Absent if the answer named no grade from 0 to 3. */
  readonly grade: number | undefined;
  readonly isCached: boolean;
}

export interface JudgeOptions {
  readonly endpoint: ChatEndpoint;
  /** JSON lines of answers, appended to as they come: the same pair is never paid for twice. */
  readonly cacheFile: string;
  /** Requests at a time. Default 8. */
  readonly concurrency?: number;
  readonly signal?: AbortSignal | undefined;
  readonly onJudged?: (pair: JudgedPair) => void;
}

/**
 * Grades each pair by the rubric. Stopped at any point, a second call with the same cache goes on
 * where the first one was.
 *
 * @throws JudgeError if the endpoint gives out; what was judged until then is in the cache.
 */
export async function judgePairs(
  pairs: readonly PairToJudge[],
  options: JudgeOptions,
): Promise<JudgedPair[]> {
  const answers = await readCache(options.cacheFile);
  const judged: JudgedPair[] = [];
  const abort = new AbortController();
  const signal =
    options.signal === undefined ? abort.signal : AbortSignal.any([abort.signal, options.signal]);
  let next = 0;
  const work = async (): Promise<void> => {
    for (let index = next++; index < pairs.length; index = next++) {
      const pair = pairs[index]!;
      const key = cacheKey(pair, options.endpoint.model);
      const known = answers.get(key);
      const answer = known ?? (await ask(pair, options, signal));
      if (known === undefined) {
        answers.set(key, answer);
        await appendFile(options.cacheFile, `${JSON.stringify({ key, answer })}\n`);
      }
      const result = { ...pair, grade: parseGrade(answer), isCached: known !== undefined };
      judged[index] = result;
      options.onJudged?.(result);
    }
  };
  try {
    await Promise.all(Array.from({ length: options.concurrency ?? 8 }, work));
  } finally {
    abort.abort();
  }
  return judged;
}

function ask(pair: PairToJudge, { endpoint }: JudgeOptions, signal: AbortSignal): Promise<string> {
  return complete(endpoint, judgeMessages(pair.queryText, pair.documentText), signal);
}

function cacheKey({ queryText, documentText }: PairToJudge, model: string): string {
  const text = JSON.stringify([RUBRIC_VERSION, model, queryText, documentText]);
  return createHash("sha256").update(text).digest("hex");
}

/** A last line that a crash has cut off is passed over. */
async function readCache(file: string): Promise<Map<string, string>> {
  const answers = new Map<string, string>();
  try {
    for await (const { text } of readLines(file)) {
      try {
        const { key, answer } = JSON.parse(text) as { key: string; answer: string };
        answers.set(key, answer);
      } catch {
        continue;
      }
    }
  } catch (error) {
    if ((error as { cause?: { code?: string } }).cause?.code !== "ENOENT") throw error;
  }
  // Ends a line that a crash has cut off, and shows at once if the file cannot be written.
  await appendFile(file, "\n");
  return answers;
}
