/**
 * OpenTelemetry for one process: spans and metrics over OTLP if an endpoint is configured, and
 * metrics for Prometheus always.
 *
 * - Without an endpoint nothing is sent and nothing connects: the API's spans stay no-ops, and
 *   sdk-node is not even loaded (importing it costs 150–440 ms and 20 MB on 2 cores, Node 20.20.2,
 *   2026-11; sdk-metrics alone 60 ms).
 * - `env` decides what is on; how to export (protocol, headers, intervals, sampling) the SDK reads
 *   from the process's OTEL_* variables.
 * - No auto-instrumentation, and no logs over OTLP.
 */
import { diag, DiagLogLevel, type Meter, metrics } from "@opentelemetry/api";
import { type IMetricReader, MeterProvider } from "@opentelemetry/sdk-metrics";
import type { NodeSDK } from "@opentelemetry/sdk-node";
import type { Log } from "./log.ts";
import { type OtlpSignals, otlpSignals } from "./otlp-signals.ts";

export interface TelemetryOptions {
  readonly serviceName: string;
  readonly version: string;
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Reads all metrics beside OTLP: the one of `createPrometheus`. */
  readonly metricReader: IMetricReader;
  /** Told when a collector cannot be reached; default: nobody. */
  readonly log?: Pick<Log, "warn" | "error">;
  /** How long `shutdown` waits for a collector that does not answer. Default 3 s. */
  readonly shutdownTimeoutMs?: number;
}

export interface Telemetry {
  readonly meter: Meter;
  /** What goes out over OTLP. */
  readonly signals: OtlpSignals;
  /** Sends what is buffered, within the time limit, and never throws. */
  shutdown(): Promise<void>;
}

/** Call once per process, before any span is made. */
export async function startTelemetry(options: TelemetryOptions): Promise<Telemetry> {
  const signals = otlpSignals(options.env);
  if (options.log) reportProblems(options.log);
  if (!signals.traces && !signals.metrics) {
    const provider = new MeterProvider({ readers: [options.metricReader] });
    return telemetry(provider.getMeter(SCOPE, options.version), signals, provider, options);
  }
  const sdk = await createSdk(options, signals);
  sdk.start();
  return telemetry(metrics.getMeter(SCOPE, options.version), signals, sdk, options);
}

const SCOPE = "rankfleet";

function telemetry(
  meter: Meter,
  signals: OtlpSignals,
  owner: { shutdown(): Promise<void> },
  { log, shutdownTimeoutMs = 3_000 }: TelemetryOptions,
): Telemetry {
  return {
    meter,
    signals,
    async shutdown() {
      let timer: NodeJS.Timeout | undefined;
      const timeout = new Promise<void>((resolve) => {
        timer = setTimeout(resolve, shutdownTimeoutMs);
      });
      const flushed = owner
        .shutdown()
        .catch((err: unknown) => log?.warn({ err }, "telemetry was not sent completely"));
      await Promise.race([flushed, timeout]);
      clearTimeout(timer);
    },
  };
}

async function createSdk(options: TelemetryOptions, signals: OtlpSignals): Promise<NodeSDK> {
  const { NodeSDK, core, resources } = await import("@opentelemetry/sdk-node");
  const metricReaders = [options.metricReader];
  if (signals.metrics) {
    const { createOtlpMetricReader } = await import("./otlp-metric-reader.ts");
    metricReaders.push(await createOtlpMetricReader(options.env));
  }
  return new NodeSDK({
    // Not NodeSDK's `serviceName`, which would win over OTEL_SERVICE_NAME.
    resource: resources.defaultResource().merge(
      resources.resourceFromAttributes({
        "service.name": options.serviceName,
        "service.version": options.version,
      }),
    ),
    // The default set has the process's command line, and with it a Redis password given as a flag.
    resourceDetectors: [resources.envDetector, resources.hostDetector],
    textMapPropagator: new core.W3CTraceContextPropagator(),
    metricReaders,
    logRecordProcessors: [],
    ...(!signals.traces && { spanProcessors: [] }),
  });
}

function reportProblems(log: Pick<Log, "warn" | "error">): void {
  const ignore = (): void => {};
  const warn = (message: string): void => log.warn(`OpenTelemetry: ${message}`);
  const error = (message: string): void => log.error(`OpenTelemetry: ${message}`);
  diag.setLogger(
    { error, warn, info: ignore, debug: ignore, verbose: ignore },
    { logLevel: DiagLogLevel.WARN, suppressOverrideMessage: true },
  );
}
