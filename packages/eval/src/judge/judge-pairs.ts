import { createHash } from "node:crypto";
import { appendFile } from "node:fs/promises";
import { readLines } from "../lines.ts";
import { complete, JudgeError, type ChatEndpoint } from "./chat-client.ts";
import { parseGrade } from "./parse-grade.ts";
import { judgeMessages, RUBRIC_VERSION } from "./rubric.ts";

export interface PairToJudge {
  readonly query: string;
  readonly document: string;
  readonly queryText: string;
  readonly documentText: string;
}

export interface JudgedPair extends PairToJudge {
  /** Absent if the answer gave no clear grade from 0 to 3, or there is none. */
  readonly grade: number | undefined;
  /** Why there is no answer; absent if there is one. */
  readonly problem: string | undefined;
  readonly isCached: boolean;
}

export interface JudgeOptions {
  readonly endpoint: ChatEndpoint;
  /** JSON lines of answers, appended to as they come: the same two texts are never paid for twice. */
  readonly cacheFile: string;
  /** Requests at a time. Default 8. */
  readonly concurrency?: number;
  /** Stops it; what is under way has {@link FAREWELL_MS} to be answered, for it is paid for. */
  readonly signal?: AbortSignal | undefined;
  readonly onJudged?: (pair: JudgedPair) => void;
  /** Told why nothing comes and how long the pause is, where it is one of some seconds. */
  readonly onWait?: (reason: string) => void;
}

/**
 * Grades each pair by the rubric. Stopped at any point, a second call with the same cache goes on
 * where the first one was.
 *
 * A pair that gets no answer, being too long perhaps, has no grade and is asked about again the next time; one whose
 * answer has no grade is not.
 *
 * @throws the signal's reason; JudgeError if the endpoint gives out for {@link MOST_FAILED} pairs in a row, refuses the first
 *   {@link MOST_UNANSWERED} or answers so many in a row without JSON; what was judged until then, what was under way included, is in the cache.
 */
export async function judgePairs(
  pairs: readonly PairToJudge[],
  options: JudgeOptions,
): Promise<JudgedPair[]> {
  const answers = await readCache(options.cacheFile);
  const judged: JudgedPair[] = [];
  const underWay = new Map<string, Promise<string | JudgeError>>();
  const farewell = afterwards(options.signal);
  let next = 0;
  const { model } = options.endpoint;
  let hasAnswered = pairs.some((pair) => answers.has(cacheKey(pair, model)));
  let [refused, unreadableInRow, failedInRow] = [0, 0, 0];
  const ask = async (pair: PairToJudge, key: string): Promise<string | JudgeError> => {
    const messages = judgeMessages(pair.queryText, pair.documentText);
    try {
      const answer = await complete(options.endpoint, messages, {
        signal: options.signal,
        farewell,
        onWait: options.onWait,
      });
      hasAnswered = true;
      [unreadableInRow, failedInRow] = [0, 0];
      answers.set(key, answer);
      await appendFile(options.cacheFile, `${JSON.stringify({ key, answer })}\n`);
      return answer;
    } catch (error) {
      if (!(error instanceof JudgeError)) throw error;
      const isOfPair =
        (error.code === "pair_refused" && (hasAnswered || ++refused < MOST_UNANSWERED)) ||
        (error.code === "answer_unreadable" && ++unreadableInRow < MOST_UNANSWERED) ||
        (error.code === "endpoint_failed" && ++failedInRow < MOST_FAILED);
      if (!isOfPair) throw error;
      return error;
    }
  };
  const work = async (): Promise<void> => {
    for (let index = next++; index < pairs.length; index = next++) {
      options.signal?.throwIfAborted();
      const pair = pairs[index]!;
      const key = cacheKey(pair, model);
      // The same texts may stand under several ids.
      const shared = answers.get(key) ?? underWay.get(key);
      const asking = shared ?? ask(pair, key);
      if (typeof asking !== "string") underWay.set(key, asking);
      const answer = await asking;
      const outcome =
        answer instanceof JudgeError
          ? { grade: undefined, problem: answer.message }
          : { grade: parseGrade(answer), problem: undefined };
      const result = { ...pair, ...outcome, isCached: shared !== undefined };
      judged[index] = result;
      options.onJudged?.(result);
    }
  };
  const workers = Array.from({ length: options.concurrency ?? 8 }, async () => {
    try {
      await work();
    } catch (error) {
      next = pairs.length; // Nobody takes another one.
      throw error;
    }
  });
  // What is under way when one fails has been paid for: it ends, and is kept.
  const outcomes = await Promise.allSettled(workers);
  const failed = outcomes.find((outcome) => outcome.status === "rejected");
  if (failed !== undefined) throw failed.reason;
  return judged;
}

/** A moment after `signal`. */
function afterwards(signal: AbortSignal | undefined): AbortSignal {
  const late = new AbortController();
  signal?.addEventListener(
    "abort",
    () => setTimeout(() => late.abort(signal.reason), FAREWELL_MS).unref(),
    { once: true },
  );
  return late.signal;
}

const FAREWELL_MS = 10_000;

/** With no answer among so many, it is not the pairs that are at fault. */
const MOST_UNANSWERED = 20;
/** A pair may bring a server down each time that it is asked about; three in a row do not. */
const MOST_FAILED = 3;

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
