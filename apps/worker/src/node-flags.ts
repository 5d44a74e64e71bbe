/**
 * What Node runs a worker with. Texts and scores of all jobs in hand live for some tenths of a second, which
 * is more than Node's young generation of 16 MiB holds when there are thousands a second: it then copies them
 * to the old one, and collecting garbage takes a quarter of the main thread. With 64 MiB a worker on a queue
 * without a limit carries a tenth to a seventh more jobs (bench `capacity`).
 *
 * The same flags are in `apps/cli/bin/rankfleet.mjs`.
 */
export const NODE_FLAGS: readonly string[] = ["--max-semi-space-size=64"];
