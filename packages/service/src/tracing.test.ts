import { createServer } from "node:http";
import { createRequire } from "node:module";
import { type AddressInfo, Socket } from "node:net";
import { context, diag, metrics, propagation, trace } from "@opentelemetry/api";
import { afterEach, describe, expect, test, vi } from "vitest";
import { createMetrics } from "./metrics.ts";
import { otlpSignals } from "./otlp-signals.ts";
import { createPrometheus } from "./prometheus.ts";
import { startTelemetry } from "./tracing.ts";

const loaded = createRequire(import.meta.url).cache;
const isSdkLoaded = (): boolean =>
  Object.keys(loaded).some((file) => file.includes("/@opentelemetry/sdk-node/"));

afterEach(() => {
  for (const api of [trace, metrics, context, propagation, diag]) api.disable();
  vi.unstubAllEnvs();
  vi.restoreAllMocks();
});

test("without an endpoint nothing connects, sdk-node is not loaded, and Prometheus has the metrics", async () => {
  const connect = vi.spyOn(Socket.prototype, "connect");
  const prometheus = createPrometheus();
  const telemetry = await start({}, prometheus);
  createMetrics(telemetry.meter).pairs.add(7, { model: "box" });
  trace.getTracer("test").startSpan("job").end();
  expect(await prometheus.text()).toContain('rankfleet_pairs_total{model="box"} 7');
  await telemetry.shutdown();
  expect(telemetry.signals).toEqual({ traces: false, metrics: false });
  expect(connect).not.toHaveBeenCalled();
  expect(isSdkLoaded()).toBe(false);
});

test("with an endpoint a collector receives spans and metrics, and Prometheus has them too", async () => {
  await using collector = await startCollector();
  const prometheus = createPrometheus();
  const env = { OTEL_EXPORTER_OTLP_ENDPOINT: collector.url };
  const telemetry = await start(env, prometheus);
  createMetrics(telemetry.meter).pairs.add(7, { model: "box" });
  const carrier: { traceparent?: string } = {};
  trace.getTracer("test").startActiveSpan("score a batch", (span) => {
    propagation.inject(context.active(), carrier);
    span.end();
  });
  expect(await prometheus.text()).toContain('rankfleet_pairs_total{model="box"} 7');
  await telemetry.shutdown();

  expect(carrier.traceparent).toMatch(/^00-[0-9a-f]{32}-[0-9a-f]{16}-01$/);
  expect(isSdkLoaded()).toBe(true);
  expect([...collector.received.keys()].sort()).toEqual(["/v1/metrics", "/v1/traces"]);
  for (const word of ["score a batch", "test-worker", "1.2.3"]) {
    expect(collector.received.get("/v1/traces")).toContain(word);
  }
  expect(collector.received.get("/v1/metrics")).toContain("rankfleet_pairs_total");
  expect([...collector.received.values()].join()).not.toContain("process.command");
});

test("an endpoint for one signal leaves the other off; OTEL_SERVICE_NAME wins", async () => {
  await using collector = await startCollector();
  const env = {
    OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: `${collector.url}/v1/traces`,
    OTEL_SERVICE_NAME: "renamed",
  };
  const telemetry = await start(env, createPrometheus());
  createMetrics(telemetry.meter).pairs.add(7, { model: "box" });
  trace.getTracer("test").startSpan("job").end();
  await telemetry.shutdown();
  expect([...collector.received.keys()]).toEqual(["/v1/traces"]);
  expect(collector.received.get("/v1/traces")).toContain("renamed");
});

test("shutdown does not wait for a collector that never answers", async () => {
  const silent = createServer(() => {});
  await new Promise<void>((resolve) => silent.listen(0, "127.0.0.1", resolve));
  const { port } = silent.address() as AddressInfo;
  const env = { OTEL_EXPORTER_OTLP_ENDPOINT: `http://127.0.0.1:${port}` };
  const telemetry = await start(env, createPrometheus());
  trace.getTracer("test").startSpan("job").end();
  const startedAt = performance.now();
  await telemetry.shutdown();
  expect(performance.now() - startedAt).toBeLessThan(2_000);
  silent.closeAllConnections();
  silent.close();
});

describe("signals", () => {
  const endpoint = { OTEL_EXPORTER_OTLP_ENDPOINT: "http://collector:4318" };
  test.each([
    [{}, false, false],
    [{ OTEL_EXPORTER_OTLP_ENDPOINT: " " }, false, false],
    [endpoint, true, true],
    [{ OTEL_EXPORTER_OTLP_METRICS_ENDPOINT: "http://collector:4318/v1/metrics" }, false, true],
    [{ ...endpoint, OTEL_TRACES_EXPORTER: "none" }, false, true],
    [{ ...endpoint, OTEL_METRICS_EXPORTER: "prometheus, otlp" }, true, true],
    [{ ...endpoint, OTEL_SDK_DISABLED: "true" }, false, false],
  ])("%j: traces %s, metrics %s", (env, traces, isMetrics) => {
    expect(otlpSignals(env)).toEqual({ traces, metrics: isMetrics });
  });
});

function start(env: Record<string, string>, prometheus: ReturnType<typeof createPrometheus>) {
  for (const [name, value] of Object.entries(env)) vi.stubEnv(name, value);
  return startTelemetry({
    serviceName: "test-worker",
    version: "1.2.3",
    env,
    metricReader: prometheus.reader,
    shutdownTimeoutMs: 1_000,
  });
}

/** A real OTLP/HTTP collector as far as an exporter can tell: it keeps bodies and answers 200. */
async function startCollector() {
  const received = new Map<string, string>();
  const server = createServer(async (request, response) => {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    const path = request.url ?? "";
    received.set(path, (received.get(path) ?? "") + Buffer.concat(chunks).toString("latin1"));
    response.writeHead(200, { "content-type": "application/x-protobuf" }).end();
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    received,
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}
