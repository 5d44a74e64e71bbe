/** Which signals leave the process over OTLP. */
export interface OtlpSignals {
  readonly traces: boolean;
  readonly metrics: boolean;
}

/**
 * A signal is on if it has an endpoint, its own or the common one, unless the standard variables
 * switch it off (`OTEL_SDK_DISABLED=true`, `OTEL_TRACES_EXPORTER` without `otlp`). The
 * specification's default of localhost:4318 is deliberately not used: a fresh machine has no
 * collector.
 */
export function otlpSignals(env: Readonly<Record<string, string | undefined>>): OtlpSignals {
  const isOn = (signal: "TRACES" | "METRICS"): boolean => {
    const endpoint =
      env[`OTEL_EXPORTER_OTLP_${signal}_ENDPOINT`]?.trim() ||
      env["OTEL_EXPORTER_OTLP_ENDPOINT"]?.trim();
    const exporters = env[`OTEL_${signal}_EXPORTER`]?.trim() || "otlp";
    return Boolean(endpoint) && exporters.split(",").some((name) => name.trim() === "otlp");
  };
  const isDisabled = env["OTEL_SDK_DISABLED"]?.trim().toLowerCase() === "true";
  return { traces: !isDisabled && isOn("TRACES"), metrics: !isDisabled && isOn("METRICS") };
}
