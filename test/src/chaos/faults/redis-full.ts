import { execFileSync } from "node:child_process";
import { setTimeout as sleep } from "node:timers/promises";
import type { Redis } from "ioredis";
import { drive } from "../drive.ts";
import { judge, type Fault } from "../fault.ts";
import { History } from "../history.ts";
import { requestsOf, undisturbed, World } from "../world.ts";

const MIB = 1024 * 1024;

export const redisFull: Fault = {
  name: "redis-full",
  what: "Redis at maxmemory: producers are held back, a worker that starts only then joins and drains it, everybody goes on",
  async run({ isShort, say }) {
    const requests = requestsOf(isShort ? 900 : 3_000, 50);
    const expected = await undisturbed(requests);
    const world = await World.start(1);
    const { redis } = world.fleet;
    const history = new History(requests);
    let waits = 0;
    try {
      const stopWatching = await history.watchWrites(redis);
      await redis.config(
        "SET",
        "maxmemory",
        String((await usedMemory(redis)) + (isShort ? 5 : 16) * MIB),
      );
      const [first] = world.workers;
      first!.child.kill("SIGTERM");
      await first!.ended;
      world.forget(first!);
      const client = world.fleet.client({ onWait: () => waits++ });
      const driving = drive(client, requests, history, { inFlight: requests.length });
      await until(() => waits > 0);
      say("the producer waits; Redis is filled up, and a worker starts");
      // Producers leave a tenth. Now there is less than nothing left.
      await redis.config("SET", "maxmemory", String((await usedMemory(redis)) - MIB));
      await world.addWorker();
      await driving;
      stopWatching();
      return judge(this.name, history, expected, {
        isShown: waits > 0,
        facts: { timesHeldBack: waits },
      });
    } finally {
      await world.stop();
    }
  },
};

export const diskFull: Fault = {
  name: "disk-full",
  what: "no room for the append-only file (by a limit on its size): held back, and on again",
  async run({ isShort, say }) {
    const requests = requestsOf(isShort ? 300 : 1_500, 50);
    const expected = await undisturbed(requests);
    const world = await World.start(1);
    const { redis, redisServer } = world.fleet;
    const history = new History(requests);
    let waits = 0;
    let filling = Promise.resolve();
    const limit = (bytes: number | "unlimited"): void => {
      execFileSync("prlimit", ["--pid", String(redisServer.pid), `--fsize=${bytes}:unlimited`]);
    };
    try {
      const stopWatching = await history.watchWrites(redis);
      const client = world.fleet.client({ onWait: () => waits++ });
      await drive(client, requests, history, {
        inFlight: 100,
        onDelivered: (delivered) => {
          if (delivered !== Math.floor(requests.length / 4)) return;
          filling = (async () => {
            limit(1); // Whatever the file's size, it may not grow.
            say("the disk is full");
            await sleep(isShort ? 3_000 : 10_000);
            limit("unlimited");
            say("there is room again");
          })();
        },
      });
      await filling;
      stopWatching();
      return judge(this.name, history, expected, {
        isShown: waits > 0,
        facts: { timesHeldBack: waits },
      });
    } finally {
      await world.stop();
    }
  },
};

async function usedMemory(redis: Redis): Promise<number> {
  return Number(/used_memory:(\d+)/u.exec(await redis.info("memory"))?.[1]);
}

async function until(isSo: () => boolean): Promise<void> {
  while (!isSo()) await sleep(20);
}
