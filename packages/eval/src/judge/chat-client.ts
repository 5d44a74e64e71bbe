import { setTimeout as sleep } from "node:timers/promises";
import { retryAfterMs } from "./retry-after.ts";

export interface ChatEndpoint {
  /** Up to and including the version, e.g. `http://127.0.0.1:8000/v1`. */
  readonly url: string;
  readonly model: string;
  readonly apiKey?: string | undefined;
}

export type JudgeErrorCode =
  | "endpoint_failed"
  | "endpoint_refused"
  /** Only what was asked is at fault, e.g. too long for the model: others may do. */
  | "pair_refused"
  /** 200, but no JSON at any try: a pair that something on the way does not like, or no such API there. */
  | "answer_unreadable";

/** The endpoint did not answer, or not with a completion; labels that are there already are kept. */
export class JudgeError extends Error {
  override readonly name = "JudgeError";
  readonly code: JudgeErrorCode;

  constructor(code: JudgeErrorCode, message: string, cause?: unknown) {
    super(message, { cause });
    this.code = code;
  }
}

const TRIES = 6;
/** Few: where nothing but a sign-in page is to be had, each pair waits for them. */
const UNREADABLE_TRIES = 3;
const FIRST_DELAY_MS = 500;
/** A quota of a day asks for hours: better to fail in minutes, for the same command goes on later. */
const MAX_DELAY_MS = 120_000;
const SAID_DELAY_MS = 5_000;
const TIMEOUT_MS = 120_000;

export interface CompleteOptions {
  readonly signal?: AbortSignal | undefined;
  readonly farewell?: AbortSignal | undefined;
  readonly onWait?: ((reason: string) => void) | undefined;
}

/**
 * One completion at temperature 0 from an OpenAI-compatible `/chat/completions`. Tries again after
 * 408, 409 (a lock not had in time), 429, 5xx, a lost connection or a body that is no JSON; the pause is what
 * `Retry-After` asks for, at most {@link MAX_DELAY_MS}, else 0.5 s and doubling.
 *
 * @param options.signal No further try or pause; its reason is thrown.
 * @param options.farewell Also breaks off a request that is under way.
 * @param options.onWait Is told of a pause of {@link SAID_DELAY_MS} and more: why, and how long it is.
 * @throws JudgeError `pair_refused` for 400, 413, 422 and an answer without text, `answer_unreadable` when
 *   {@link UNREADABLE_TRIES} bodies were no JSON, `endpoint_refused` for any other status, `endpoint_failed` when tries run out.
 */
export async function complete(
  endpoint: ChatEndpoint,
  messages: readonly { role: string; content: string }[],
  { signal, farewell, onWait }: CompleteOptions = {},
): Promise<string> {
  let failure: unknown;
  let unreadable = 0;
  for (let attempt = 0; attempt < TRIES; attempt++) {
    signal?.throwIfAborted();
    let askedMs: number | undefined;
    try {
      const reply = await post(endpoint, messages, farewell);
      const body = await reply.text();
      if (reply.ok) return contentOf(body, endpoint.url);
      const problem = `${endpoint.url} answered ${reply.status}: ${body.slice(0, 200)}`;
      if (![408, 409, 429].includes(reply.status) && reply.status < 500) {
        const isOfPair = [400, 413, 422].includes(reply.status);
        throw new JudgeError(isOfPair ? "pair_refused" : "endpoint_refused", problem);
      }
      failure = new Error(problem);
      askedMs = retryAfterMs(reply.headers.get("retry-after"), Date.now());
    } catch (error) {
      signal?.throwIfAborted();
      const isUnreadable = error instanceof JudgeError && error.code === "answer_unreadable";
      if (isUnreadable ? ++unreadable === UNREADABLE_TRIES : error instanceof JudgeError)
        throw error;
      failure = error; // Also the connection, or its end in the middle of the answer.
    }
    if (attempt + 1 === TRIES) break;
    const delayMs = Math.min(askedMs ?? FIRST_DELAY_MS * 2 ** attempt, MAX_DELAY_MS);
    if (delayMs >= SAID_DELAY_MS) {
      const asks = askedMs === undefined ? "" : `it asks for ${seconds(askedMs)}; `;
      onWait?.(`${messageOf(failure)}; ${asks}asking again in ${seconds(delayMs)}`);
    }
    // An abort ends the pause; the loop's head then throws the signal's own reason.
    await sleep(delayMs, undefined, { signal }).catch(() => {});
  }
  throw new JudgeError(
    "endpoint_failed",
    `no answer from ${endpoint.url} in ${TRIES} tries: ${messageOf(failure)}`,
    failure,
  );
}

function seconds(ms: number): string {
  return `${Math.ceil(ms / 1000)} s`;
}

/** `fetch failed` says nothing; its cause does. */
function messageOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  return error.cause instanceof Error ? `${error.message}: ${error.cause.message}` : error.message;
}

function post(
  { url, model, apiKey }: ChatEndpoint,
  messages: readonly unknown[],
  signal: AbortSignal | undefined,
): Promise<Response> {
  const timeout = AbortSignal.timeout(TIMEOUT_MS);
  return fetch(`${url.replace(/\/$/u, "")}/chat/completions`, {
    method: "POST",
    headers: {
      "content-type": "application/json",
      ...(apiKey === undefined ? {} : { authorization: `Bearer ${apiKey}` }),
    },
    body: JSON.stringify({ model, messages, temperature: 0 }),
    signal: signal === undefined ? timeout : AbortSignal.any([signal, timeout]),
  });
}

function contentOf(body: string, url: string): string {
  const { choices } = (parse(body, url) ?? {}) as {
    choices?: { message?: { content?: unknown } }[];
  };
  const content = choices?.[0]?.message?.content;
  if (typeof content === "string") return content;
  throw new JudgeError("pair_refused", "the answer has no choices[0].message.content");
}

function parse(body: string, url: string): unknown {
  try {
    return JSON.parse(body);
  } catch (cause) {
    const problem = `${url} answered 200 without JSON (is the URL the API's, up to its version?): "${body.slice(0, 200)}"`;
    throw new JudgeError("answer_unreadable", problem, cause);
  }
}
