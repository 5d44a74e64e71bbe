import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { cli, TestFleet } from "./support/fleet.ts";
import { requests } from "./support/texts.ts";

/** As OTLP's JSON encoding has it (opentelemetry-proto, trace.proto). */
interface SpanJson {
  readonly name: string;
  readonly traceId: string;
  readonly spanId: string;
  readonly parentSpanId?: string;
  readonly links?: readonly { readonly spanId: string }[];
}

interface TracesJson {
  readonly resourceSpans: readonly {
    readonly scopeSpans: readonly { readonly spans: readonly SpanJson[] }[];
  }[];
}

const spans: SpanJson[] = [];
let collector: Server;
let fleet: TestFleet;
let folder: string;
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "tracing-test-"));
  collector = createServer((request, response) => {
    let body = "";
    request.on("data", (chunk: Buffer) => (body += chunk.toString()));
    request.on("end", () => {
      const traces = JSON.parse(body) as TracesJson;
      spans.push(
        ...traces.resourceSpans.flatMap(({ scopeSpans }) =>
          scopeSpans.flatMap((scope) => scope.spans),
        ),
      );
      response.setHeader("content-type", "application/json").end("{}");
    });
  }).listen(0, "127.0.0.1");
  await once(collector, "listening");
  fleet = await TestFleet.start();
});
afterAll(async () => {
  await fleet.stop();
  collector.close();
  rmSync(folder, { recursive: true });
});

test("one trace leads from the command through the queue to the job, and batches link to their jobs", async () => {
  const env = {
    OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: `http://127.0.0.1:${(collector.address() as AddressInfo).port}/v1/traces`,
    OTEL_EXPORTER_OTLP_TRACES_PROTOCOL: "http/json",
  };
  const worker = await fleet.worker(env);
  const input = join(folder, "in.jsonl");
  writeFileSync(
    input,
    requests(4, 6)
      .map((request) => `${JSON.stringify(request)}\n`)
      .join(""),
  );
  const run = spawn(process.execPath, [cli, "run", input, "--output", join(folder, "out.jsonl")], {
    env: { ...process.env, ...env, REDIS_URL: fleet.url },
    stdio: "ignore",
  });
  expect(await once(run, "exit")).toEqual([0, null]);
  worker.child.kill("SIGTERM");
  expect(await worker.ended).toBe(0);

  const named = (name: string): SpanJson[] => spans.filter((span) => span.name === name);
  const [root] = named("rankfleet run");
  const enqueued = named("rerank enqueue");
  const jobs = named("rerank job");
  const linked = new Set(
    named("rerank batch").flatMap(({ links = [] }) => links.map(({ spanId }) => spanId)),
  );
  expect(
    new Set(spans.filter(({ name }) => name !== "rerank batch").map(({ traceId }) => traceId)),
  ).toEqual(new Set([root!.traceId]));
  expect(enqueued.map(({ parentSpanId }) => parentSpanId)).toEqual(Array(4).fill(root!.spanId));
  expect(new Set(jobs.map(({ parentSpanId }) => parentSpanId))).toEqual(
    new Set(enqueued.map(({ spanId }) => spanId)),
  );
  expect(linked).toEqual(new Set(jobs.map(({ spanId }) => spanId)));
});
