export { startWatchdog } from "./watchdog.ts";
export type { Watchdog, WatchdogOptions } from "./watchdog.ts";
export { type EventLoopWatch, watchEventLoop } from "./event-loop.ts";
export {
  type HealthOptions,
  type HealthServer,
  type Reasons,
  startHealthServer,
} from "./health.ts";
export { ListenError, type ListenErrorCode } from "./listen-error.ts";
export { createLog, type Log, LOG_LEVELS, type LogLevel, type LogOptions } from "./log.ts";
export { markdownTable } from "./markdown-table.ts";
export {
  type CounterInstrument,
  createMetrics,
  type GaugeInstrument,
  type HistogramInstrument,
  type Metrics,
  metricsTable,
  type Observation,
} from "./metrics.ts";
export { type OtlpSignals, otlpSignals } from "./otlp-signals.ts";
export { observeProcess } from "./process-metrics.ts";
export { createPrometheus, type Prometheus } from "./prometheus.ts";
export { redactUrl } from "./redact-url.ts";
export { list, oneOf, port, text, wholeNumber, yesOrNo } from "./setting-schemas.ts";
export { SettingsError, type SettingProblem } from "./settings-error.ts";
export { addSettingsOptions, type OptionHost, settingsTable } from "./settings-options.ts";
export {
  defineSettings,
  type FlagValue,
  nameSetting,
  readSettings,
  type Setting,
  type SettingsOf,
  type SettingsSources,
  type SettingsTable,
} from "./settings.ts";
export {
  type Drain,
  onShutdown,
  type ProcessLike,
  type ShutdownOptions,
  type ShutdownRequest,
} from "./shutdown.ts";
export { startTelemetry, type Telemetry, type TelemetryOptions } from "./tracing.ts";
