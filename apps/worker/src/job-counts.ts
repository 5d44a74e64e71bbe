import type { CompletedRecord, JobEnvelope } from "@rankfleet/queue/contract";
import type { Metrics } from "@rankfleet/service";

/** How an attempt at a job ended; `put_off`: neither done nor failed, it waits for another worker, or has one already. */
export type Outcome = "completed" | "failed" | "lost_lock" | "duplicate" | "put_off";

/** What a worker tells of one model's jobs in its metrics. */
export class JobCounts {
  readonly #model: string;
  readonly #metrics: Metrics;

  constructor({ model, metrics }: { readonly model: string; readonly metrics: Metrics }) {
    this.#model = model;
    this.#metrics = metrics;
  }

  /** @param job undefined if it was none. */
  ended(job: JobEnvelope | undefined, outcome: Outcome, durationMs: number): void {
    const [model, lane] = [this.#model, job?.lane ?? "unknown"];
    this.#metrics.jobs.add(1, { model, lane, outcome });
    this.#metrics.jobDuration.record(durationMs / 1000, { model, lane });
  }

  waited({ lane }: JobEnvelope, ms: number): void {
    this.#metrics.queueWait.record(ms / 1000, { model: this.#model, lane });
  }

  /** @param cached Pairs whose scores the cache knew. */
  scored({ logits, failures, truncated, timings }: CompletedRecord, cached: number): void {
    const [model, metrics] = [this.#model, this.#metrics];
    const failed = Object.keys(failures).length;
    metrics.documents.add(logits.length - failed - truncated.length, { model, outcome: "scored" });
    metrics.documents.add(truncated.length, { model, outcome: "truncated" });
    metrics.documents.add(failed, { model, outcome: "failed" });
    metrics.tokenizeDuration.record(timings.tokenizeMs / 1000, { model });
    if (cached > 0) metrics.pairsCached.add(cached, { model });
  }
}
