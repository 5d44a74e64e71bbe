import { Worker } from "bullmq";
import { Redis } from "ioredis";
import { EMPTY_QUEUE, emptyChannel } from "./empty-queue.ts";

/** The other process of `EmptyQueue`: tells that a job has come, and nothing else. */
const url = process.argv[2]!;
const redis = new Redis(url, { maxRetriesPerRequest: null });
const worker = new Worker(
  EMPTY_QUEUE,
  async (job) => {
    await redis.publish(emptyChannel, job.id!);
  },
  { connection: new Redis(url, { maxRetriesPerRequest: null }), concurrency: 4 },
);
await worker.waitUntilReady();
process.send?.("ready");
// Also where the benchmark was killed: nobody else would end this one.
process.once("disconnect", () => process.exit());
process.once("SIGTERM", () => process.exit());
