import { randomBytes, randomInt } from "node:crypto";
import { gzipSync } from "node:zlib";
import { setTimeout as sleep } from "node:timers/promises";
import { HANDLED } from "@rankfleet/queue";
import { FAILURES, keysFor } from "@rankfleet/queue/contract";
import { Queue, type Job } from "bullmq";
import type { Redis } from "ioredis";
import { drive } from "../drive.ts";
import { judge, type Fault } from "../fault.ts";
import { History } from "../history.ts";
import { MODEL, requestsOf, undisturbed, World } from "../world.ts";

const keys = keysFor().model(MODEL);

export const fuzz: Fault = {
  name: "fuzz",
  what: "10,000 messages that are no jobs, written straight into the queue",
  async run({ isShort, say }) {
    const count = isShort ? 1_000 : 10_000;
    const requests = requestsOf(isShort ? 100 : 400, 20);
    const expected = await undisturbed(requests);
    const world = await World.start(1);
    const [worker] = world.workers;
    const history = new History(requests);
    const redis = world.fleet.redis;
    const queue = new Queue(keys.queue("standard"), { connection: redis, prefix: "rankfleet" });
    try {
      const stopWatching = await history.watchWrites(redis);
      const good = drive(world.fleet.client(), requests, history, { inFlight: 50 });
      for (let from = 0; from < count; from += 500) {
        const messages = await Promise.all(
          Array.from({ length: Math.min(500, count - from) }, async (_, i) => ({
            name: "fuzz",
            data: await garbage(redis, from + i),
            opts: { jobId: `fuzz${from + i}x`, attempts: 3, priority: 1 },
          })),
        );
        await queue.addBulk(messages);
      }
      await good;
      say("good jobs are done; the others follow");
      const failed = await untilFailed(queue, count);
      const codes = new Map<string, number>();
      for (const { failedReason = "" } of failed) {
        const code = failedReason.startsWith(HANDLED)
          ? (failedReason.slice(HANDLED.length).split(":")[0] ?? "")
          : "";
        codes.set(code, (codes.get(code) ?? 0) + 1);
      }
      const isCoded = [...codes.keys()].every((code) => Object.hasOwn(FAILURES, code));
      const isAlive = worker!.child.exitCode === null && worker!.child.signalCode === null;
      stopWatching();
      return judge(this.name, history, expected, {
        isShown: isAlive && isCoded && failed.length === count,
        facts: {
          fuzzed: count,
          deadLetters: failed.length,
          workerAlive: isAlive,
          codes: [...codes].map(([code, n]) => `${code}×${n}`).join(" "),
        },
      });
    } finally {
      await queue.close();
      await world.stop();
    }
  },
};

async function untilFailed(queue: Queue, count: number): Promise<Job[]> {
  for (let waited = 0; waited < 60_000 && (await queue.getFailedCount()) < count; waited += 200) {
    await sleep(200);
  }
  return queue.getFailed(0, count);
}

const KINDS = 12;

/** No two alike, and none a job that could be scored. */
async function garbage(redis: Redis, i: number): Promise<unknown> {
  const texts = JSON.stringify({ query: `fuzz ${i}`, documents: [`document ${i}`] });
  const good = {
    v: 1,
    model: MODEL,
    documents: 1,
    characters: 10,
    payload: { json: texts },
    options: {},
    lane: "standard",
    enqueuedAt: Date.now(),
    replyTo: "fuzz",
  };
  const claim = async (bytes: Buffer | undefined): Promise<unknown> => {
    const key = keys.payload(`fuzz${i}x`);
    if (bytes !== undefined) await redis.set(key, bytes, "EX", 600);
    return { ...good, payload: { claim: key } };
  };
  const packed = gzipSync(texts);
  switch (i % KINDS) {
    case 0:
      return randomBytes(randomInt(1, 200)).toString("latin1");
    case 1:
      return randomInt(0, 2 ** 32);
    case 2:
      return { ...good, v: [0, -1, 1.5, "1", null, 99, 1e9, {}][randomInt(0, 8)] };
    case 3:
      return claim(packed.subarray(0, randomInt(0, packed.length - 1)));
    case 4:
      return claim(undefined);
    case 5:
      return claim(randomBytes(randomInt(1, 400)));
    case 6:
      return { ...good, payload: { json: texts.slice(0, randomInt(0, texts.length - 1)) } };
    case 7:
      return { ...good, payload: { json: JSON.stringify({ query: i, documents: "no list" }) } };
    case 8: {
      const required = [
        "v",
        "model",
        "documents",
        "payload",
        "options",
        "lane",
        "enqueuedAt",
        "replyTo",
      ];
      const without = required[randomInt(0, required.length)]!;
      return Object.fromEntries(Object.entries(good).filter(([field]) => field !== without));
    }
    case 9:
      return { ...good, model: `other${i}` };
    case 10:
      return [[[[{ deep: randomBytes(8).toString("hex") }]]]];
    default:
      return { ...good, documents: -randomInt(0, 9), lane: randomBytes(4).toString("hex") };
  }
}
