import { Backlog } from "@rankfleet/queue";
import { keysFor } from "@rankfleet/queue/contract";
import { afterAll, beforeAll, beforeEach } from "vitest";
import { TestFleet, type WorkerProcess } from "./fleet.ts";
import { simulatedFolder } from "./simulated.ts";

/** For tests of what waits: each begins with an empty Redis and no worker. */
export interface SlowFleet {
  readonly fleet: TestFleet;
  readonly backlog: Backlog;
  /** Starts a worker of models that score 1,000 pairs/s and compute nothing. Default: one, `sim`. */
  worker(...models: readonly string[]): Promise<WorkerProcess>;
}

/** To be called once in a test file; what it returns is there as soon as tests run. */
export function slowFleet(): SlowFleet {
  let fleet: TestFleet;
  let backlog: Backlog;
  const simulated = simulatedFolder({ pairs_per_second: 1_000 });
  beforeAll(async () => {
    fleet = await TestFleet.start();
    backlog = new Backlog(fleet.redis, keysFor());
  });
  beforeEach(async () => {
    await fleet.killWorkers();
    await fleet.redis.flushall();
  });
  afterAll(() => fleet.stop());
  return {
    get fleet() {
      return fleet;
    },
    get backlog() {
      return backlog;
    },
    worker: (...models) => {
      const names = models.length === 0 ? ["sim"] : models;
      return fleet.worker({
        RANKFLEET_MODEL: names.map((name) => `${name}=${simulated}`).join(","),
      });
    },
  };
}
