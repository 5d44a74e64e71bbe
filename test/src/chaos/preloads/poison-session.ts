// ONNX Runtime as it is, but for sequences that hold a marked token: CHAOS_POISON is JSON, from a token's id to
// what becomes of a forward pass that reads it: "nan", "throw", "memory" (it asks for more than there is), "kill", or
// "hang" (it never ends). Before it becomes of it, that is added to this process's file in the folder CHAOS_TRIALS.
import { appendFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";

interface Feed {
  readonly data: BigInt64Array;
  readonly dims: readonly number[];
}
interface Feeds {
  readonly [name: string]: Feed;
  readonly input_ids: Feed;
}
interface Outputs {
  readonly [name: string]: { readonly data: Float32Array };
}
interface Session {
  run(feeds: Feeds, ...rest: unknown[]): Promise<Outputs>;
}

const effects = new Map(
  Object.entries(JSON.parse(process.env["CHAOS_POISON"] ?? "{}") as Record<string, string>).map(
    ([id, effect]) => [BigInt(id), effect],
  ),
);
const trials = join(process.env["CHAOS_TRIALS"]!, String(process.pid));
const require = createRequire(process.env["CHAOS_CORE"]!);
const { InferenceSession, Tensor } = require("onnxruntime-node") as {
  InferenceSession: { create(weights: unknown, options?: unknown): Promise<Session> };
  Tensor: new (type: "int64", data: BigInt64Array, dims: readonly number[]) => Feed;
};
/** As a batch of so many rows, a pair needs more than MEMORY bytes (see faults/poison.ts). */
const ROWS = 200_000;
const gigantic = ({ data, dims }: Feed): Feed => {
  const row = data.subarray(0, dims[1]);
  const rows = new BigInt64Array(ROWS * row.length);
  for (let i = 0; i < ROWS; i++) rows.set(row, i * row.length);
  return new Tensor("int64", rows, [ROWS, row.length]);
};
const create = InferenceSession.create.bind(InferenceSession);

InferenceSession.create = async (weights, options) => {
  // What is injected need not be reported by ONNX Runtime too: fatal errors only.
  const session = await create(weights, { ...(options as object), logSeverityLevel: 4 });
  const run = session.run.bind(session);
  session.run = async (feeds, ...rest) => {
    const { data, dims } = feeds.input_ids;
    const length = dims[1]!;
    const poisoned = new Map<number, string>();
    for (const [i, id] of data.entries()) {
      const effect = effects.get(id);
      if (effect !== undefined) poisoned.set(Math.floor(i / length), effect);
    }
    for (const effect of poisoned.values()) {
      appendFileSync(trials, `${effect}\n`);
      if (effect === "kill") process.kill(process.pid, "SIGKILL");
      if (effect === "throw") throw new Error("injected: this pair cannot be computed");
      if (effect === "hang") Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0);
      if (effect === "memory") {
        const huge = Object.entries(feeds).map(([name, feed]) => [name, gigantic(feed)]);
        return run(Object.fromEntries(huge) as Feeds, ...rest);
      }
    }
    const outputs = await run(feeds, ...rest);
    for (const row of poisoned.keys()) outputs["logits"]!.data[row] = Number.NaN;
    return outputs;
  };
  return session;
};
