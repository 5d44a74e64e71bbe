import { aftermath } from "../aftermath.ts";
import { drive } from "../drive.ts";
import { judge, type Fault } from "../fault.ts";
import { History } from "../history.ts";
import { TakeoverWatch } from "../takeover.ts";
import { mixedRequestsOf, pairsOf, undisturbed, World } from "../world.ts";

export const workerKill: Fault = {
  name: "worker-kill",
  what: "SIGKILL of random workers, ever again, while a bulk is under way",
  async run({ isShort, say }) {
    const kills = isShort ? 3 : 50;
    const requests = mixedRequestsOf(isShort ? 240 : 2_000, 50, { priority: "bulk" });
    const expected = await undisturbed(requests);
    const world = await World.start(3);
    const history = new History(requests);
    const takeovers = new TakeoverWatch(world.fleet.redis);
    let killed = 0;
    let killing = Promise.resolve();
    const killOne = async (): Promise<void> => {
      const victim = world.workers[Math.floor(Math.random() * world.workers.length)]!;
      await world.kill(victim);
      await takeovers.begin();
      await world.addWorker();
    };
    try {
      const stopWatching = await history.watchWrites(world.fleet.redis);
      const client = world.fleet.client({ model: "tiny" });
      await drive(client, requests, history, {
        inFlight: 400,
        onDelivered: (delivered) => {
          if (killed >= kills || delivered < (killed + 0.5) * (requests.length / (kills + 1)))
            return;
          killed++;
          say(`worker ${killed} of ${kills} killed, ${delivered} of ${requests.length} jobs done`);
          killing = killing.then(killOne);
        },
      });
      await killing;
      const takeoverMedianSeconds = await takeovers.medianSeconds();
      const left = await aftermath(client, world.fleet.redis, history);
      stopWatching();
      return judge(this.name, history, expected, {
        isShown:
          killed === kills &&
          takeoverMedianSeconds !== null &&
          takeoverMedianSeconds < 10 &&
          left.length === 0,
        takeoverMedianSeconds,
        facts: {
          pairs: pairsOf(requests),
          kills: killed,
          jobsTakenOver: takeovers.count,
          leftOver: left.join(" ") || 0,
        },
      });
    } finally {
      await world.stop();
    }
  },
};
