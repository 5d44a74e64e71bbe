import { SpanStatusCode, trace } from "@opentelemetry/api";

/**
 * Runs a command under a span of its own, from which the spans of its jobs hang, and sends them off
 * before it ends. Nothing of OpenTelemetry's SDK is loaded unless an OTLP endpoint is configured.
 */
export async function traced(command: string, run: () => Promise<void>): Promise<void> {
  if (!Object.keys(process.env).some((name) => /^OTEL_EXPORTER_OTLP_.*ENDPOINT$/u.test(name))) {
    return run();
  }
  const { createPrometheus, startTelemetry } = await import("@rankfleet/service");
  const telemetry = await startTelemetry({
    serviceName: "rankfleet-cli",
    version: "0.1.0",
    env: process.env,
    metricReader: createPrometheus().reader,
  });
  try {
    await trace.getTracer("rankfleet").startActiveSpan(`rankfleet ${command}`, async (span) => {
      try {
        await run();
      } catch (error) {
        span.setStatus({ code: SpanStatusCode.ERROR, message: String(error) });
        throw error;
      } finally {
        span.end();
      }
    });
  } finally {
    await telemetry.shutdown();
  }
}
