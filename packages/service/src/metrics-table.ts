/**
 * Every metric of the product, declared once: instruments, their types and the documentation come
 * from here. A new metric is one entry. (`createMetrics` checks the entries against
 * `MetricDefinition`: `satisfies` cannot stand here under isolatedDeclarations.)
 */

/** `text` for a label with any value, or the closed list of its values. */
export type LabelDefinitions = Readonly<Record<string, "text" | readonly string[]>>;

export type MetricDefinition = {
  readonly name: string;
  /** UCUM, as OpenTelemetry wants it. */
  readonly unit: string;
  readonly help: string;
  readonly labels: LabelDefinitions;
} & (
  | { readonly kind: "counter" | "gauge" }
  | { readonly kind: "histogram"; readonly buckets: keyof typeof BUCKETS }
);

export const BUCKETS = {
  /** Of one batch or one tokenisation: 0.5 ms … 10 s. */
  work: [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10],
  /** From a job that finds the fleet idle to one behind a bulk load: 1 ms … 10 min. */
  wait: [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600,
  ],
  pairs: [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024],
} as const;

export const METRICS = {
  jobs: {
    kind: "counter",
    name: "rankfleet_jobs_total",
    unit: "{job}",
    help: "Jobs that left this worker, by how they ended.",
    labels: {
      model: "text",
      lane: "text",
      outcome: ["completed", "failed", "lost_lock", "duplicate", "put_off"],
    },
  },
  documents: {
    kind: "counter",
    name: "rankfleet_documents_total",
    unit: "{document}",
    help: "Documents of settled jobs; truncated ones were scored on their beginning.",
    labels: { model: "text", outcome: ["scored", "truncated", "failed"] },
  },
  pairs: {
    kind: "counter",
    name: "rankfleet_pairs_total",
    unit: "{pair}",
    help: "Pairs that went through the model.",
    labels: { model: "text" },
  },
  pairsCached: {
    kind: "counter",
    name: "rankfleet_pairs_cached_total",
    unit: "{pair}",
    help: "Pairs whose score was known from the fleet's score cache.",
    labels: { model: "text" },
  },
  scoreCacheHits: {
    kind: "gauge",
    name: "rankfleet_score_cache_hit_ratio",
    unit: "1",
    help: "Share of documents that the score cache knew, of those that this worker asked it for since the last reading, 0 to 1; while none is asked for, the last share stands.",
    labels: { model: "text" },
  },
  batches: {
    kind: "counter",
    name: "rankfleet_batches_total",
    unit: "{batch}",
    help: "Batches that went through the model.",
    labels: { model: "text" },
  },
  tokens: {
    kind: "counter",
    name: "rankfleet_tokens_total",
    unit: "{token}",
    help: "Tokens that went through the model: real ones, and all with padding.",
    labels: { model: "text", kind: ["real", "padded"] },
  },
  batchPairs: {
    kind: "histogram",
    name: "rankfleet_batch_pairs",
    unit: "{pair}",
    help: "Pairs in a batch.",
    labels: { model: "text" },
    buckets: "pairs",
  },
  batchDuration: {
    kind: "histogram",
    name: "rankfleet_batch_duration_seconds",
    unit: "s",
    help: "Time of one batch in the model.",
    labels: { model: "text", device: "text" },
    buckets: "work",
  },
  tokenizeDuration: {
    kind: "histogram",
    name: "rankfleet_tokenize_duration_seconds",
    unit: "s",
    help: "Time to turn one job's texts into tokens.",
    labels: { model: "text" },
    buckets: "work",
  },
  queueWait: {
    kind: "histogram",
    name: "rankfleet_queue_wait_seconds",
    unit: "s",
    help: "Time from enqueueing a job to a worker taking it.",
    labels: { model: "text", lane: "text" },
    buckets: "wait",
  },
  jobDuration: {
    kind: "histogram",
    name: "rankfleet_job_duration_seconds",
    unit: "s",
    help: "Time from a worker taking a job to its result being stored.",
    labels: { model: "text", lane: "text" },
    buckets: "wait",
  },
  backlogPairs: {
    kind: "gauge",
    name: "rankfleet_backlog_pairs",
    unit: "{pair}",
    help: "Pairs queued for the model in the whole fleet, some seconds ago; every worker says the same: take the maximum.",
    labels: { model: "text" },
  },
  backlogDuration: {
    kind: "gauge",
    name: "rankfleet_backlog_seconds",
    unit: "s",
    help: "How long the live workers need for the backlog, at the speed that each measures: what to scale by.",
    labels: { model: "text" },
  },
  pairsWaiting: {
    kind: "gauge",
    name: "rankfleet_pairs_waiting",
    unit: "{pair}",
    help: "Pairs in this worker that are not in a batch yet.",
    labels: { model: "text" },
  },
  jobsInHand: {
    kind: "gauge",
    name: "rankfleet_jobs_in_hand",
    unit: "{job}",
    help: "Jobs that this worker has taken and not settled.",
    labels: { model: "text" },
  },
  deviceBusy: {
    kind: "gauge",
    name: "rankfleet_device_busy_ratio",
    unit: "1",
    help: "Share of time that the device computed since the last reading, 0 to 1.",
    labels: { model: "text", device: "text" },
  },
  eventLoopLag: {
    kind: "gauge",
    name: "rankfleet_event_loop_lag_seconds",
    unit: "s",
    help: "How late the event loop ran its timers, 99th percentile of the last window.",
    labels: {},
  },
  processMemory: {
    kind: "gauge",
    name: "rankfleet_process_memory_bytes",
    unit: "By",
    help: "Memory of the process: resident, JavaScript heap used and reserved, outside the heap.",
    labels: { kind: ["rss", "heap_used", "heap_total", "external"] },
  },
  modelInfo: {
    kind: "gauge",
    name: "rankfleet_model_info",
    unit: "1",
    help: "1 for each model that is loaded; the labels say which.",
    labels: { model: "text", revision: "text", dtype: "text", device: "text" },
  },
} as const;
