import type { BenchOptions, Suite } from "./suite.ts";
import { gpu } from "./suites/gpu.ts";
import { latency } from "./suites/latency.ts";
import { repeat } from "./suites/repeat.ts";
import { capacity, interactive, scaling, stream } from "./suites/simulated.ts";
import { tenants } from "./suites/tenants.ts";
import { throughputSuite } from "./suites/throughput.ts";
import { WORKLOADS } from "./workloads.ts";

/** The one list of suites. */
export const SUITES: Readonly<Record<string, Suite>> = {
  ...Object.fromEntries(
    Object.values(WORKLOADS).map((workload) => [workload.name, throughputSuite(workload)]),
  ),
  latency,
  repeat,
  scaling,
  capacity,
  interactive,
  tenants,
  stream,
  gpu,
  "gpu-mixed": throughputSuite(WORKLOADS["mixed"]!, false),
};

type Defaults = Pick<BenchOptions, "model" | "dtype" | "device">;

/** What a suite measures, and on what, if the command line does not say. */
export function defaultsOf(suite: string): Defaults {
  return suite.startsWith("gpu")
    ? { model: "l6", dtype: "fp16", device: "webgpu" }
    : { model: "box", dtype: "int8", device: "cpu" };
}

/** Several suites in one run. */
export const GROUPS: Readonly<Record<string, readonly string[]>> = {
  quick: ["mixed", "latency"],
  throughput: Object.keys(WORKLOADS),
  simulated: ["scaling", "capacity", "interactive", "tenants", "stream"],
  // All that any machine can run.
  all: Object.keys(SUITES).filter((name) => !name.startsWith("gpu")),
};
