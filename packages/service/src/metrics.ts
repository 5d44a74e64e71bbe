import type { Meter } from "@opentelemetry/api";
import { markdownTable } from "./markdown-table.ts";
import { BUCKETS, type LabelDefinitions, type MetricDefinition, METRICS } from "./metrics-table.ts";

/** The instruments of the table, each typed by its own labels: `metrics.jobs.add(1, { … })`. */
export type Metrics = {
  readonly [Name in keyof typeof METRICS]: Instrument<(typeof METRICS)[Name]>;
};

export interface CounterInstrument<Labels> {
  add(amount: number, labels: Labels): void;
}

export interface HistogramInstrument<Labels> {
  record(value: number, labels: Labels): void;
}

export interface GaugeInstrument<Labels> {
  /**
   * `read` runs at each collection. It must go on reporting a series that is over, as 0: the SDK
   * repeats the last value of one that is missing.
   */
  observe(read: () => Iterable<Observation<Labels>>): void;
}

export interface Observation<Labels> {
  readonly value: number;
  readonly labels: Labels;
}

/** Builds every instrument on `meter`, which `startTelemetry` returns. */
export function createMetrics(meter: Meter): Metrics {
  const definitions: readonly (readonly [string, MetricDefinition])[] = Object.entries(METRICS);
  return Object.fromEntries(
    definitions.map(([name, definition]) => [name, createInstrument(meter, definition)]),
  ) as Metrics;
}

/** The metrics as a Markdown table for the documentation. */
export function metricsTable(): string {
  const definitions: readonly MetricDefinition[] = Object.values(METRICS);
  const rows = definitions.map(({ name, kind, unit, labels, help }) => [
    `\`${name}\``,
    kind,
    unit,
    Object.entries(labels).map(describeLabel).join(", "),
    help,
  ]);
  return markdownTable(["Metric", "Kind", "Unit", "Labels", "Meaning"], rows);
}

type Instrument<Definition extends MetricDefinition> = Definition["kind"] extends "counter"
  ? CounterInstrument<LabelsOf<Definition["labels"]>>
  : Definition["kind"] extends "histogram"
    ? HistogramInstrument<LabelsOf<Definition["labels"]>>
    : GaugeInstrument<LabelsOf<Definition["labels"]>>;

type LabelsOf<Definitions extends LabelDefinitions> = {
  readonly [Label in keyof Definitions]: Definitions[Label] extends readonly (infer Value)[]
    ? Value
    : string;
};

type AnyLabels = Record<string, string>;

function createInstrument(
  meter: Meter,
  definition: MetricDefinition,
): CounterInstrument<AnyLabels> | HistogramInstrument<AnyLabels> | GaugeInstrument<AnyLabels> {
  const { name, unit, help: description } = definition;
  switch (definition.kind) {
    case "counter":
      return meter.createCounter(name, { unit, description });
    case "histogram":
      return meter.createHistogram(name, {
        unit,
        description,
        advice: { explicitBucketBoundaries: [...BUCKETS[definition.buckets]] },
      });
    case "gauge":
      return createGauge(meter, definition);
  }
}

function createGauge(meter: Meter, definition: MetricDefinition): GaugeInstrument<AnyLabels> {
  const { name, unit, help: description } = definition;
  const gauge = meter.createObservableGauge(name, { unit, description });
  return {
    observe(read) {
      gauge.addCallback((result) => {
        for (const { value, labels } of read()) result.observe(value, labels);
      });
    },
  };
}

function describeLabel([label, values]: [string, "text" | readonly string[]]): string {
  return values === "text" ? label : `${label} (${values.join(", ")})`;
}
