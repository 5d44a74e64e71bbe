import type { BackendFacts, BackendOptions } from "../backend/backend.ts";
import { openBackend } from "../backend/backends.ts";
import type { TokenBatch } from "../batch/pack.ts";
import { openModel } from "../model/families.ts";
import type { ModelFolder } from "../model/folder.ts";
import { serveThread } from "./channel.ts";

export interface InferData {
  readonly folder: ModelFolder;
  readonly backend: BackendOptions;
}

export interface InferReply {
  readonly logits: Float32Array<ArrayBuffer>;
  /** Time of packing and the forward pass: while it lasts, the device is busy. */
  readonly durationMs: number;
}

/** Of longer passes the news is dear, and sending it cheap; and behind a longer one it would be late. */
const SHORT_PASS_MS = 25;
/** The main thread must hear in time to send more: it keeps some 60 ms of batches ready (`Batcher`). */
const LONGEST_HOLD_MS = 12;

await serveThread<InferData, BackendFacts, TokenBatch, InferReply>(async ({ folder, backend }) => {
  const model = openModel(folder);
  const session = await openBackend(folder.weights, backend);
  const { inputs, outputs } = session.facts;
  return {
    ready: session.facts,
    fallback: "inference_failed",
    longestHoldMs: LONGEST_HOLD_MS,
    answer: async (batch) => {
      const start = performance.now();
      const batchTokens = batch.ids.length;
      const results = await session.run(model.inputs(batch, inputs));
      const logits = model.logits(results, outputs, batch.offsets.length - 1);
      const durationMs = performance.now() - start;
      return {
        reply: { logits, durationMs },
        transfer: [logits.buffer],
        mayWaitFor: (next) =>
          durationMs * Math.max(1, next.ids.length / batchTokens) < SHORT_PASS_MS,
      };
    },
    close: () => session.close(),
  };
});
