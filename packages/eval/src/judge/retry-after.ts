/** What a `Retry-After` asks for, in seconds or as an HTTP date; undefined if it asks for nothing, or for a moment that is past. */
export function retryAfterMs(header: string | null, nowMs: number): number | undefined {
  const text = header?.trim() ?? "";
  const ms = /^\d+(?:\.\d+)?$/u.test(text) ? Number(text) * 1000 : httpDate(text) - nowMs;
  return ms > 0 ? ms : undefined;
}

/** NaN for anything else: Date.parse finds a date in "in 5 minutes" too. */
function httpDate(text: string): number {
  return /^\w{3,9},? .*\d{2}:\d{2}:\d{2}/u.test(text) ? Date.parse(text) : Number.NaN;
}
