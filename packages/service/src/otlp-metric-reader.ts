import { type PushMetricExporter, PeriodicExportingMetricReader } from "@opentelemetry/sdk-metrics";

/**
 * NodeSDK builds its OTLP metric reader only when it is given no other, and we also have the
 * Prometheus one; so this repeats its reading of the protocol and interval variables.
 */
export async function createOtlpMetricReader(
  env: Readonly<Record<string, string | undefined>>,
): Promise<PeriodicExportingMetricReader> {
  const exportIntervalMillis = positive(env["OTEL_METRIC_EXPORT_INTERVAL"]) ?? 60_000;
  const timeout = positive(env["OTEL_METRIC_EXPORT_TIMEOUT"]) ?? 30_000;
  return new PeriodicExportingMetricReader({
    exporter: await createExporter(
      env["OTEL_EXPORTER_OTLP_METRICS_PROTOCOL"] ?? env["OTEL_EXPORTER_OTLP_PROTOCOL"],
    ),
    exportIntervalMillis,
    exportTimeoutMillis: Math.min(timeout, exportIntervalMillis),
  });
}

async function createExporter(protocol: string | undefined): Promise<PushMetricExporter> {
  switch (protocol?.trim()) {
    case "grpc":
      return new (await import("@opentelemetry/exporter-metrics-otlp-grpc")).OTLPMetricExporter();
    case "http/json":
      return new (await import("@opentelemetry/exporter-metrics-otlp-http")).OTLPMetricExporter();
    default:
      return new (await import("@opentelemetry/exporter-metrics-otlp-proto")).OTLPMetricExporter();
  }
}

function positive(text: string | undefined): number | undefined {
  const value = Number(text);
  return value > 0 ? value : undefined;
}
