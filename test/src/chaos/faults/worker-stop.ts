import { setTimeout as sleep } from "node:timers/promises";
import { metric } from "../../support/fleet.ts";
import { drive } from "../drive.ts";
import { judge, type Fault } from "../fault.ts";
import { History } from "../history.ts";
import { requestsOf, undisturbed, World } from "../world.ts";

const LOCK_MS = 6_000;

export const workerStop: Fault = {
  name: "worker-stop",
  what: "SIGSTOP of a worker for three lock lengths, then SIGCONT",
  async run({ isShort, say }) {
    const requests = requestsOf(isShort ? 200 : 1_000, 50);
    const expected = await undisturbed(requests);
    const world = await World.start(1);
    const [sleeper] = world.workers;
    const history = new History(requests);
    let waking = Promise.resolve();
    try {
      const stopWatching = await history.watchWrites(world.fleet.redis);
      await drive(world.fleet.client(), requests, history, {
        inFlight: 400,
        onDelivered: (delivered) => {
          if (delivered !== Math.floor(requests.length / 5)) return;
          sleeper!.child.kill("SIGSTOP");
          say("worker stopped; another one starts");
          waking = (async () => {
            await world.addWorker();
            await sleep(3 * LOCK_MS);
            sleeper!.child.kill("SIGCONT");
            say("worker goes on");
            await sleep(2_000);
          })();
        },
      });
      await waking;
      const jobs = (outcome: string): Promise<number> =>
        metric(sleeper!, `rankfleet_jobs_total{model="tiny",lane="standard",outcome="${outcome}"}`);
      // Late are those whose lease is another's by now, and those that have their record already.
      const refused = (await jobs("lost_lock")) + (await jobs("duplicate"));
      stopWatching();
      return judge(this.name, history, expected, {
        isShown: refused > 0,
        facts: { lateWritesRefused: refused },
      });
    } finally {
      sleeper!.child.kill("SIGCONT");
      await world.stop();
    }
  },
};
