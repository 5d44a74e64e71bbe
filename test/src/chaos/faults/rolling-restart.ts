import { setTimeout as sleep } from "node:timers/promises";
import { drive } from "../drive.ts";
import { judge, type Fault } from "../fault.ts";
import { History } from "../history.ts";
import { requestsOf, undisturbed, World } from "../world.ts";

const LONGEST_GAP_MS = 2_000;

export const rollingRestart: Fault = {
  name: "rolling-restart",
  what: "SIGTERM and replacement of every worker in turn, under load, three times",
  async run({ isShort, say }) {
    const rounds = isShort ? 1 : 3;
    const chunk = 200;
    const requests = requestsOf(isShort ? 1_000 : 4_000, 25);
    const expected = await undisturbed(requests);
    const world = await World.start(2);
    const history = new History(requests);
    const codes: (number | string)[] = [];
    let lastAt = performance.now();
    let longestGapMs = 0;
    let isRestarting = true;
    const restarts = async (): Promise<void> => {
      for (let round = 1; round <= rounds; round++) {
        for (const old of world.workers.slice()) {
          old.child.kill("SIGTERM");
          world.forget(old);
          codes.push(await old.ended);
          await world.addWorker();
        }
        say(`round ${round} of ${rounds}: every worker replaced`);
      }
      isRestarting = false;
    };
    try {
      const stopWatching = await history.watchWrites(world.fleet.redis);
      const restarting = restarts();
      // As fast as needed to keep the fleet under load until the last restart, and no faster.
      await drive(world.fleet.client(), requests, history, {
        inFlight: chunk,
        onDelivered: () => {
          const now = performance.now();
          if (isRestarting) longestGapMs = Math.max(longestGapMs, now - lastAt);
          lastAt = now;
        },
      });
      await restarting;
      await sleep(100);
      stopWatching();
      const isClean = codes.every((code) => code === 0);
      return judge(this.name, history, expected, {
        isShown: isClean && longestGapMs < LONGEST_GAP_MS,
        facts: {
          restarts: codes.length,
          exitCodes: [...new Set(codes)].join(" "),
          longestGapSeconds: (longestGapMs / 1000).toFixed(2),
        },
      });
    } finally {
      await world.stop();
    }
  },
};
