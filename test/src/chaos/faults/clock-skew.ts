import { setTimeout as sleep } from "node:timers/promises";
import { keysFor } from "@rankfleet/queue/contract";
import { DeadlineExceededError } from "@rankfleet/sdk";
import { Queue } from "bullmq";
import { drive } from "../drive.ts";
import { judge, type Fault } from "../fault.ts";
import type { WorkerProcess } from "../../support/fleet.ts";
import { preload } from "../preload.ts";
import { History } from "../history.ts";
import { MODEL, requestsOf, undisturbed, World } from "../world.ts";

const HOUR_MS = 3_600_000;

export const clockSkew: Fault = {
  name: "clock-skew",
  what: "worker clocks an hour ahead and an hour behind the producer's: deadlines stay right, nothing is put off for an hour",
  async run({ isShort, say }) {
    const requests = requestsOf(isShort ? 40 : 200, 20);
    const expected = await undisturbed(requests);
    const history = new History(requests);
    const world = await World.start(0);
    let [inTime, late, takenUp] = [0, 0, 0];
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
        if (await putOffIsLookedAtAgain(world, worker, `newer-${half}`)) takenUp++;
      }
      stopWatching();
      return judge(this.name, history, expected, {
        isShown: late === 2 && takenUp === 2,
        facts: { inTime, lateRefused: late, putOffTakenUp: takenUp },
      });
    } finally {
      await world.stop();
    }
  },
};

/** A message that the worker puts off, since it is of a newer version: does another one look at it soon? */
async function putOffIsLookedAtAgain(
  world: World,
  skewed: WorkerProcess,
  jobId: string,
): Promise<boolean> {
  const { redis } = world.fleet;
  const name = keysFor().model(MODEL).queue("standard");
  const queue = new Queue(name, { connection: redis, prefix: "rankfleet" });
  const looks = async (): Promise<number> => (await queue.getJob(jobId))?.attemptsStarted ?? 0;
  const reaches = async (count: number): Promise<boolean> => {
    for (let i = 0; i < 150; i++) {
      if ((await looks()) >= count) return true;
      await sleep(100);
    }
    return false;
  };
  try {
    await queue.add("rerank", { v: 2 }, { jobId, attempts: 3 });
    if (!(await reaches(1))) return false;
    await sleep(1_000);
    await world.kill(skewed);
    const before = await looks();
    const other = await world.addWorker();
    const isTakenUp = await reaches(before + 1);
    await world.kill(other);
    await queue.remove(jobId);
    return isTakenUp;
  } finally {
    await queue.close();
  }
}
