import { Worker } from "bullmq";
import { Redis } from "ioredis";
import type { Request } from "../workloads.ts";
import { TransformersJs, type PeerModel } from "./transformers-js.ts";

/** BullMQ with transformers.js in the processor, the way one writes it first: a process of its own. */
const { url, model } = JSON.parse(process.argv[2]!) as { url: string; model: PeerModel };
const reranker = await TransformersJs.load(model);
const connection = new Redis(url, { maxRetriesPerRequest: null });
const worker = new Worker<Request, number[]>("naive", (job) => reranker.score(job.data), {
  connection,
});
await worker.waitUntilReady();
process.send?.("ready");
// Also where the benchmark was killed: nobody else would end this one.
process.once("disconnect", () => process.exit());
process.once("SIGTERM", async () => {
  await worker.close();
  process.exit(0);
});
