import { MeterProvider } from "@opentelemetry/sdk-metrics";
import { expect, expectTypeOf, test } from "vitest";
import { BUCKETS, METRICS, type MetricDefinition } from "./metrics-table.ts";
import { createMetrics, type Metrics, metricsTable } from "./metrics.ts";
import { observeProcess } from "./process-metrics.ts";
import { createPrometheus } from "./prometheus.ts";

function start(): { metrics: Metrics; samples: () => Promise<Map<string, number>> } {
  const prometheus = createPrometheus();
  const provider = new MeterProvider({ readers: [prometheus.reader] });
  const metrics = createMetrics(provider.getMeter("test"));
  return { metrics, samples: async () => parsePrometheus(await prometheus.text()) };
}

test("counters add up by label", async () => {
  const { metrics, samples } = start();
  metrics.jobs.add(2, { model: "box", lane: "bulk", outcome: "completed" });
  metrics.jobs.add(1, { model: "box", lane: "bulk", outcome: "completed" });
  metrics.jobs.add(1, { model: "box", lane: "bulk", outcome: "failed" });
  const seen = await samples();
  const name = (outcome: string): string =>
    `rankfleet_jobs_total{model="box",lane="bulk",outcome="${outcome}"}`;
  expect(seen.get(name("completed"))).toBe(3);
  expect(seen.get(name("failed"))).toBe(1);
});

test("histograms use the table's buckets, cumulative up to +Inf", async () => {
  const { metrics, samples } = start();
  for (const seconds of [0.0004, 7, 601]) {
    metrics.queueWait.record(seconds, { model: "box", lane: "live" });
  }
  const seen = await samples();
  const bucket = (le: number | string): number | undefined =>
    seen.get(`rankfleet_queue_wait_seconds_bucket{model="box",lane="live",le="${le}"}`);
  expect(BUCKETS.wait.map((le) => bucket(le))).toEqual(BUCKETS.wait.map((le) => (le < 10 ? 1 : 2)));
  expect(bucket("+Inf")).toBe(3);
  expect(seen.get('rankfleet_queue_wait_seconds_count{model="box",lane="live"}')).toBe(3);
});

test("gauges are read at each collection", async () => {
  const { metrics, samples } = start();
  let waiting = 5;
  metrics.pairsWaiting.observe(() => [{ value: waiting, labels: { model: "box" } }]);
  expect((await samples()).get('rankfleet_pairs_waiting{model="box"}')).toBe(5);
  waiting = 0;
  expect((await samples()).get('rankfleet_pairs_waiting{model="box"}')).toBe(0);
});

test("label values with quotes, backslashes and line breaks stay one sample", async () => {
  const { metrics, samples } = start();
  metrics.pairs.add(1, { model: 'a"b\\c\nd' });
  expect((await samples()).get('rankfleet_pairs_total{model="a\\"b\\\\c\\nd"}')).toBe(1);
});

test("process memory and event loop lag are there", async () => {
  const { metrics, samples } = start();
  observeProcess(metrics, { lagSeconds: () => 0.25, close: () => {} });
  const seen = await samples();
  expect(seen.get('rankfleet_process_memory_bytes{kind="rss"}')).toBeGreaterThan(1e6);
  expect(seen.get("rankfleet_event_loop_lag_seconds")).toBe(0.25);
});

test("labels are checked by the compiler", () => {
  expectTypeOf<Parameters<Metrics["documents"]["add"]>[1]>().toEqualTypeOf<{
    readonly model: string;
    readonly outcome: "scored" | "truncated" | "failed";
  }>();
  expectTypeOf<Metrics["batchPairs"]>().toHaveProperty("record");
  expectTypeOf<Metrics["modelInfo"]>().toHaveProperty("observe");
});

const definitions: readonly MetricDefinition[] = Object.values(METRICS);

test.each(definitions)("$name follows Prometheus's naming", ({ name, kind, unit }) => {
  expect(name).toMatch(/^rankfleet_[a-z_]+$/);
  expect(name.endsWith("_total")).toBe(kind === "counter");
  if (unit === "s") expect(name).toMatch(/_seconds$/);
  if (unit === "By") expect(name).toMatch(/_bytes$/);
});

test("the documentation's table has a row for each metric, with its labels' values", () => {
  const lines = metricsTable().trimEnd().split("\n");
  expect(lines).toHaveLength(2 + definitions.length);
  expect(lines[2]).toBe(
    "| `rankfleet_jobs_total` | counter | {job} | model, lane, outcome (completed, failed, lost_lock, duplicate, put_off) | Jobs that left this worker, by how they ended. |",
  );
});

/** Reads the text format strictly: every line a comment or a sample, every sample typed and once. */
function parsePrometheus(text: string): Map<string, number> {
  const types = new Map<string, string>();
  const samples = new Map<string, number>();
  expect(text.endsWith("\n")).toBe(true);
  for (const line of text.slice(0, -1).split("\n")) {
    if (line === "" || /^# (HELP|UNIT) /.test(line) || line === "# no registered metrics") continue;
    const [, name, type] = /^# TYPE (\w+) (counter|gauge|histogram)$/.exec(line) ?? [];
    if (name !== undefined && type !== undefined) {
      types.set(name, type);
      continue;
    }
    const sample =
      /^((\w+?)(?:_bucket|_sum|_count)?(?:\{(?:\w+="(?:[^"\\\n]|\\.)*",?)+\})?) (\S+)$/;
    const [, key = "", base = "", value] = sample.exec(line) ?? [];
    expect(types.has(base), `a typed sample: ${line}`).toBe(true);
    expect(samples.has(key), `only one ${key}`).toBe(false);
    samples.set(key, Number(value));
  }
  return samples;
}
