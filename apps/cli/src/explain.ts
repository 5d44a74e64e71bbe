/** What the user sees of an error: its message; the stack too if it is not one of ours, or if asked for. */
export function explain(error: unknown): string {
  if (!(error instanceof Error)) return `error: ${String(error)}`;
  const isOurs =
    "code" in error && typeof error.code === "string" && !error.message.startsWith("bug:");
  const isAsked = (process.env["RANKFLEET_DEBUG"] ?? "") !== "";
  return isOurs && !isAsked ? `error: ${error.message}` : `error: ${error.stack ?? error.message}`;
}
