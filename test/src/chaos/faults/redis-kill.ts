import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { startLocalRedis, type LocalRedis } from "@rankfleet/local-redis";
import { aftermath } from "../aftermath.ts";
import { drive } from "../drive.ts";
import { judge, type Fault } from "../fault.ts";
import { History } from "../history.ts";
import { mixedRequestsOf, undisturbed, World } from "../world.ts";

export const redisKill: Fault = {
  name: "redis-kill",
  what: "SIGKILL of Redis under load, and its restart from the append-only file",
  async run({ isShort, say }) {
    const kills = isShort ? 1 : 5;
    const requests = mixedRequestsOf(isShort ? 300 : 2_000, 50);
    const expected = await undisturbed(requests);
    const dataFolder = mkdtempSync(join(tmpdir(), "rankfleet-chaos-redis-"));
    const world = await World.start(2, { dataFolder, password: "chaos" });
    const { port, pid } = world.fleet.redisServer;
    const restarted: LocalRedis[] = [];
    const history = new History(requests);
    let killed = 0;
    let server = pid;
    let killing = Promise.resolve();
    const killOnce = async (): Promise<void> => {
      process.kill(server, "SIGKILL");
      await sleep(1_000);
      const next = await startLocalRedis({ dataFolder, port, password: "chaos" });
      restarted.push(next);
      server = next.pid;
      say("Redis is back");
    };
    try {
      const stopWatching = await history.watchWrites(world.fleet.redis);
      const client = world.fleet.client();
      await drive(client, requests, history, {
        onDelivered: (delivered) => {
          if (killed >= kills || delivered < (killed + 1) * (requests.length / (kills + 2))) return;
          killed++;
          say(`Redis killed (${killed} of ${kills}), ${delivered} of ${requests.length} jobs done`);
          killing = killing.then(killOnce);
        },
      });
      await killing;
      const left = await aftermath(client, world.fleet.redis, history);
      stopWatching();
      return judge(this.name, history, expected, {
        isShown: killed === kills && left.length === 0,
        facts: { kills: killed, appendfsync: "everysec", leftOver: left.join(" ") || 0 },
      });
    } finally {
      await world.stop();
      for (const each of restarted) await each.stop();
      rmSync(dataFolder, { recursive: true, force: true });
    }
  },
};
