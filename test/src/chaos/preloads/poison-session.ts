// ONNX Runtime as it is, but for sequences that hold a marked token: CHAOS_POISON is JSON, from a token's id to
// what becomes of a forward pass that reads it: "nan", "throw" or "kill".
import { createRequire } from "node:module";

interface Feeds {
  readonly input_ids: { readonly data: BigInt64Array; readonly dims: readonly number[] };
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
const require = createRequire(process.env["CHAOS_CORE"]!);
const { InferenceSession } = require("onnxruntime-node") as {
  InferenceSession: { create(...args: unknown[]): Promise<Session> };
};
const create = InferenceSession.create.bind(InferenceSession);

InferenceSession.create = async (...args) => {
  const session = await create(...args);
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
      if (effect === "kill") process.kill(process.pid, "SIGKILL");
      if (effect === "throw") throw new Error("injected: this pair cannot be computed");
    }
    const outputs = await run(feeds, ...rest);
    for (const row of poisoned.keys()) outputs["logits"]!.data[row] = Number.NaN;
    return outputs;
  };
  return session;
};
