import { createHash } from "node:crypto";
import { context, propagation } from "@opentelemetry/api";
import {
  PROTOCOL_VERSION,
  type JobEnvelope,
  type ParsedRequest,
  type Stage,
} from "@rankfleet/queue/contract";
import type { Session } from "./session.ts";

/** What goes into the queue for a request, but for its texts. */
export function toEnvelope(
  { query, options, texts, characters, ids, firstStageScores }: ParsedRequest,
  stages: readonly Stage[],
  session: Session,
): Omit<JobEnvelope, "payload"> {
  const [{ model, keep }, ...next] = stages as [Stage, ...Stage[]];
  const { topN, returnDocuments, rawScores, maxTokensPerDocument, longDocuments, truncation } =
    options;
  const scoring = {
    topN,
    returnDocuments,
    rawScores,
    maxTokensPerDocument,
    longDocuments,
    truncation,
  };
  const carrier: Record<string, string> = {};
  propagation.inject(context.active(), carrier);
  return {
    v: PROTOCOL_VERSION,
    model,
    documents: texts.length,
    characters,
    options: scoring,
    ids,
    firstStageScores,
    cascade:
      next.length === 0
        ? undefined
        : { keep, next, documents: texts.length, failures: {}, past: [], pairs: 0 },
    revision: options.revision,
    lane: options.priority ?? "standard",
    tenant: options.tenant,
    enqueuedAt: session.clock.now(),
    deadline:
      options.deadline === undefined
        ? undefined
        : session.clock.fromLocal(Number(options.deadline)),
    replyTo: session.producerId,
    digest:
      options.idempotencyKey === undefined
        ? undefined
        : digest([
            model,
            query,
            texts,
            scoring,
            keep,
            next,
            firstStageScores,
            // Only where there is one: older SDKs come to the same digest for requests without.
            ...(options.revision === undefined ? [] : [options.revision]),
            ...(ids === undefined ? [] : [ids]),
          ]),
    metadata: options.metadata,
    trace: carrier["traceparent"] === undefined ? undefined : carrier,
  };
}

function digest(value: unknown): string {
  return createHash("sha256").update(JSON.stringify(value)).digest("hex");
}
