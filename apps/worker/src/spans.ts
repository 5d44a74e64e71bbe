import type { BatchReport } from "@rankfleet/core";
import type { JobEnvelope } from "@rankfleet/queue/contract";
import {
  context,
  propagation,
  SpanKind,
  SpanStatusCode,
  trace,
  type SpanContext,
  type Tracer,
} from "@opentelemetry/api";

/** Fetched each time: a tracer from before the provider was set would record nothing. */
const tracer = (): Tracer => trace.getTracer("@rankfleet/worker");

/**
 * A span for a job, child of the producer's. A batch holds pairs of many jobs and so has no one
 * parent: it gets a span of its own that links to each of them, by the tag given here.
 */
export async function traceJob<T>(
  jobId: string,
  job: JobEnvelope,
  run: (tag: SpanContext) => Promise<T>,
): Promise<T> {
  const parent = propagation.extract(context.active(), job.trace ?? {});
  const attributes = {
    "rankfleet.job": jobId,
    "rankfleet.model": job.model,
    "rankfleet.lane": job.lane,
    "rankfleet.documents": job.documents,
  };
  const span = tracer().startSpan("rerank job", { kind: SpanKind.CONSUMER, attributes }, parent);
  try {
    return await run(span.spanContext());
  } catch (error) {
    span.setStatus({
      code: SpanStatusCode.ERROR,
      message: error instanceof Error ? error.message : String(error),
    });
    throw error;
  } finally {
    span.end();
  }
}

/** A span for a forward pass that is over. */
export function traceBatch(model: string, report: BatchReport): void {
  const links = report.tags.map((tag) => ({ context: tag as SpanContext }));
  const span = tracer().startSpan("rerank batch", {
    startTime: report.startedAt,
    links,
    root: true,
    attributes: {
      "rankfleet.model": model,
      "rankfleet.device": report.device,
      "rankfleet.batch.pairs": report.rows,
      "rankfleet.batch.length": report.length,
      "rankfleet.batch.real_tokens": report.realTokens,
      "rankfleet.batch.padded_tokens": report.paddedTokens,
    },
  });
  span.end(report.startedAt + report.durationMs);
}
