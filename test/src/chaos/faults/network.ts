import { setTimeout as sleep } from "node:timers/promises";
import { drive } from "../drive.ts";
import { judge, type Fault } from "../fault.ts";
import { History } from "../history.ts";
import { Proxy } from "../proxy.ts";
import { requestsOf, undisturbed, World } from "../world.ts";

export const network: Fault = {
  name: "network",
  what: "200 ms latency, 1 % of packets a reset, and a cut, between SDK, workers and Redis",
  async run({ isShort, say }) {
    const requests = requestsOf(isShort ? 200 : 1_000, 50);
    const expected = await undisturbed(requests);
    const world = await World.start(0);
    const { port, password } = world.fleet.redisServer;
    const proxy = await Proxy.start(port);
    const url = `redis://:${password}@127.0.0.1:${proxy.port}`;
    const history = new History(requests);
    let weather = Promise.resolve();
    let cuts = 0;
    try {
      await Promise.all([1, 2].map(() => world.addWorker({ REDIS_URL: url })));
      const stopWatching = await history.watchWrites(world.fleet.redis);
      await drive(world.fleet.client({ redis: url }), requests, history, {
        onDelivered: (delivered) => {
          if (delivered !== Math.floor(requests.length / 6)) return;
          weather = (async () => {
            say("200 ms each way");
            proxy.latencyMs = 200;
            await sleep(isShort ? 2_000 : 10_000);
            proxy.latencyMs = 0;
            say("1 % of packets reset their connection");
            proxy.resets = 0.01;
            await sleep(isShort ? 3_000 : 20_000);
            proxy.resets = 0;
            say("cut");
            proxy.cut();
            cuts++;
            await sleep(isShort ? 3_000 : 15_000);
            proxy.mend();
            say("mended");
          })();
        },
      });
      await weather;
      stopWatching();
      return judge(this.name, history, expected, {
        isShown: cuts === 1,
        facts: { resets: proxy.resetCount, cuts },
      });
    } finally {
      await world.stop();
      await proxy.stop();
    }
  },
};
