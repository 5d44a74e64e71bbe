import { setTimeout as sleep } from "node:timers/promises";
import { DeadlineExceededError } from "@rankfleet/sdk";
import { drive } from "../drive.ts";
import { judge, type Fault } from "../fault.ts";
import { preload } from "../preload.ts";
import { History } from "../history.ts";
import { requestsOf, undisturbed, World } from "../world.ts";

const HOUR_MS = 3_600_000;

export const clockSkew: Fault = {
  name: "clock-skew",
  what: "worker clocks an hour ahead and an hour behind the producer's: deadlines stay right",
  async run({ isShort, say }) {
    const requests = requestsOf(isShort ? 40 : 200, 20);
    const expected = await undisturbed(requests);
    const history = new History(requests);
    const world = await World.start(0);
    let [inTime, late] = [0, 0];
    try {
      const stopWatching = await history.watchWrites(world.fleet.redis);
      for (const [half, skewMs] of [HOUR_MS, -HOUR_MS].entries()) {
        say(`worker's clock ${skewMs > 0 ? "an hour ahead" : "an hour behind"}`);
        const worker = await world.addWorker({
          NODE_OPTIONS: preload("skewed-clock"),
          CHAOS_CLOCK_SKEW_MS: String(skewMs),
        });
        const client = world.fleet.client();
        // A deadline that leaves time is kept, whatever the worker's clock says.
        const count = requests.length / 2;
        const ours = requests.map((request, i) =>
          Math.floor(i / count) === half ? { ...request, deadline: Date.now() + 20_000 } : request,
        );
        await drive(client, ours, history, { from: half * count, to: (half + 1) * count });
        inTime += count;
        // And one that is over before a worker comes to it is not computed.
        worker.child.kill("SIGSTOP");
        const job = await client.enqueue({ ...requests[0]!, deadline: Date.now() + 500 });
        await sleep(1_000);
        worker.child.kill("SIGCONT");
        const outcome = await job.result().catch((error: unknown) => error);
        // The caller's own timer says so; the record must say the same.
        const record = await client
          .job(job.id)
          .result({ signal: AbortSignal.timeout(15_000) })
          .catch((error: unknown) => error);
        if (outcome instanceof DeadlineExceededError && record instanceof DeadlineExceededError) {
          late++;
        }
        await world.kill(worker);
      }
      stopWatching();
      return judge(this.name, history, expected, {
        isShown: late === 2,
        facts: { inTime, lateRefused: late },
      });
    } finally {
      await world.stop();
    }
  },
};
