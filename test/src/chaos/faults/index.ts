import type { Fault } from "../fault.ts";
import { clockSkew } from "./clock-skew.ts";
import { clusterFailover, sentinelFailover } from "./failover.ts";
import { fuzz } from "./fuzz.ts";
import { network } from "./network.ts";
import { poison } from "./poison.ts";
import { producerKill } from "./producer-kill.ts";
import { diskFull, redisFull } from "./redis-full.ts";
import { redisKill } from "./redis-kill.ts";
import { rollingRestart } from "./rolling-restart.ts";
import { workerKill } from "./worker-kill.ts";
import { workerStop } from "./worker-stop.ts";

/** Every fault, in the order in which they run. */
export const faults: readonly Fault[] = [
  workerKill,
  workerStop,
  producerKill,
  redisKill,
  sentinelFailover,
  clusterFailover,
  network,
  redisFull,
  diskFull,
  poison,
  fuzz,
  clockSkew,
  rollingRestart,
];
