// A producer to be killed: enqueues requests under keys of their own, and prints each that is acknowledged.
import { RerankClient } from "@rankfleet/sdk";
import { requestsOf } from "./world.ts";

const client = new RerankClient({ modelWaitMs: 10_000, warnAboveDocuments: Infinity });
const todo = requestsOf(Number(process.argv[2]), 20).entries();
await Promise.all(
  Array.from({ length: 20 }, async () => {
    for (const [number, request] of todo) {
      const job = await client.enqueue({ ...request, idempotencyKey: `chaos-${number}` });
      process.stdout.write(`${number} ${job.id}\n`);
    }
  }),
);
await client.close();
