import { readFile } from "node:fs/promises";
import { CoreError } from "../errors.ts";
import type { Backend } from "./backend.ts";

/**
 * A device that takes its time and computes nothing: latency from a cost model, for what a test machine
 * does not have (32 GPUs, a GPU at all). It says so: its device name is `simulated`.
 *
 * The folder's `config.json` holds the cost of a batch of rows × length under `rankfleet.simulated`:
 *
 *     ms = fixed_ms + ms_per_token · rows · length + ms_per_token_squared · rows · length²
 *          + 1000 · rows / pairs_per_second
 *
 * What is absent costs nothing, so `{}` is a device without a limit.
 */
export async function openSimulated(file: string): Promise<Backend> {
  const cost = readCost(file, JSON.parse(await readFile(file, "utf8")));
  let freeAt = 0;
  let returnedAt = 0;
  return {
    facts: {
      device: "simulated",
      runtime: "simulated device: latency without arithmetic",
      inputs: ["digests", "length"],
      outputs: ["logits"],
    },
    run: async ({ digests, length: lengths }) => {
      if (digests?.type !== "int64" || lengths?.type !== "int64") {
        throw new Error("bug: a simulated device runs only the simulated model");
      }
      const rows = digests.data.length;
      const length = Number(lengths.data[0]);
      const ms =
        cost.fixedMs +
        rows * length * (cost.msPerToken + cost.msPerTokenSquared * length) +
        rows * cost.msPerPair;
      // A batch that lay ready, and so comes as soon as the last one is answered, started when that one ended: a
      // device of its own does not wait until this machine's cores have time to wake its thread.
      const now = performance.now();
      freeAt = (now - returnedAt < LAY_READY_MS ? freeAt : now) + ms;
      const wait = freeAt - now;
      if (wait > 0) Atomics.wait(NEVER, 0, 0, wait);
      returnedAt = performance.now();
      const logits = Float32Array.from(digests.data, toLogit);
      return { logits: { type: "float32", data: logits, dims: [rows, 1] } };
    },
    close: async () => {},
  };
}

const LAY_READY_MS = 1;
const NEVER = new Int32Array(new SharedArrayBuffer(4));

/** 31 bits → −8 … 8. */
function toLogit(digest: bigint): number {
  return (Number(digest) / 2 ** 31) * 16 - 8;
}

interface SimulatedCost {
  readonly fixedMs: number;
  readonly msPerToken: number;
  readonly msPerTokenSquared: number;
  readonly msPerPair: number;
}

function readCost(file: string, config: unknown): SimulatedCost {
  const section = (config as { rankfleet?: { simulated?: unknown } }).rankfleet?.simulated ?? {};
  const read = (name: string): number | undefined => {
    const value = (section as Record<string, unknown>)[name];
    if (value === undefined || (typeof value === "number" && value >= 0)) return value;
    throw new CoreError(
      "model_folder_invalid",
      `${file}: rankfleet.simulated.${name} must be a number of at least 0`,
      { field: "model" },
    );
  };
  const pairsPerSecond = read("pairs_per_second") ?? 0;
  return {
    fixedMs: read("fixed_ms") ?? 0,
    msPerToken: read("ms_per_token") ?? 0,
    msPerTokenSquared: read("ms_per_token_squared") ?? 0,
    msPerPair: pairsPerSecond === 0 ? 0 : 1000 / pairsPerSecond,
  };
}
