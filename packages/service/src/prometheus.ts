import { PrometheusExporter, PrometheusSerializer } from "@opentelemetry/exporter-prometheus";
import type { IMetricReader } from "@opentelemetry/sdk-metrics";

/** What serves `/metrics`: a reader for `startTelemetry`, and its current values as text. */
export interface Prometheus {
  readonly reader: IMetricReader;
  /** Prometheus text format 0.0.4. */
  text(): Promise<string>;
}

/** Without a server of its own: the health server has the one port. */
export function createPrometheus(): Prometheus {
  const reader = new PrometheusExporter({ preventServerStart: true });
  // No scope labels, which would repeat one constant on every line; and no target_info, whose
  // resource attributes belong to OTLP.
  const serializer = new PrometheusSerializer("", false, undefined, true, true);
  return {
    reader,
    async text() {
      const { resourceMetrics, errors } = await reader.collect();
      if (errors.length > 0) throw new AggregateError(errors, "metrics could not be collected");
      return `${serializer.serialize(resourceMetrics).trimEnd()}\n`;
    },
  };
}
