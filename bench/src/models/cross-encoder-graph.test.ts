import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { openBackend, type Tensor } from "@rankfleet/core";
import { writeModel, type OnnxModel } from "@rankfleet/graph";
import { afterAll, beforeAll, expect, test } from "vitest";
import { crossEncoderGraph } from "./cross-encoder-graph.ts";
import { matmulGraph } from "./matmul-graph.ts";
import { RandomWeights } from "./random-weights.ts";

const shape = {
  layers: 2,
  hidden: 64,
  heads: 2,
  intermediate: 128,
  vocabulary: 500,
  positions: 64,
};

/** Of logits from -2 to 2, after two layers in float16, which has 11 bits. */
const ROUNDING = 1e-2;

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "rankfleet-bench-test-"));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

async function run(
  model: OnnxModel,
  inputs: Readonly<Record<string, Tensor>>,
): Promise<Float32Array> {
  const file = join(folder, "model.onnx");
  await writeModel(file, model);
  const session = await openBackend(file, { device: "cpu", intraOpThreads: 1 });
  const [output] = Object.values(await session.run(inputs));
  await session.close();
  if (output?.type !== "float32") throw new Error("expected one float32 output");
  return output.data;
}

/** Rows of 40 tokens; the last is padded from its tenth on. */
function feeds(rows: number): Record<string, Tensor> {
  const dims = [rows, 40];
  const int64 = (of: (row: number, column: number) => number): Tensor => {
    const data = new BigInt64Array(rows * 40);
    for (let i = 0; i < data.length; i++) data[i] = BigInt(of(Math.floor(i / 40), i % 40));
    return { type: "int64", data, dims };
  };
  return {
    input_ids: int64((row, column) => (row * 131 + column * 17) % shape.vocabulary),
    attention_mask: int64((row, column) => (row === rows - 1 && column >= 10 ? 0 : 1)),
    token_type_ids: int64((_row, column) => (column < 8 ? 0 : 1)),
  };
}

test("an fp16 graph scores as the fp32 graph of the same weights does", async () => {
  const narrow = await run(crossEncoderGraph(shape, "fp16"), feeds(6));
  const wide = await run(crossEncoderGraph(shape, "fp32"), feeds(6));
  const differences = [...narrow].map((logit, row) => Math.abs(logit - wide[row]!));
  expect(Math.max(...wide) - Math.min(...wide)).toBeGreaterThan(1);
  expect(Math.max(...differences)).toBeLessThan(ROUNDING);
});

test("what is padded does not count in fp16 either", async () => {
  const padded = feeds(1);
  const short = Object.fromEntries(
    Object.entries(padded).map(([name, tensor]) => [
      name,
      { ...tensor, data: tensor.data.slice(0, 10), dims: [1, 10] } as Tensor,
    ]),
  );
  const graph = crossEncoderGraph(shape, "fp16");
  const [withPadding] = await run(graph, padded);
  const [without] = await run(graph, short);
  expect(Math.abs(withPadding! - without!)).toBeLessThan(ROUNDING);
});

test("weights that repeat are spread like those that do not", () => {
  const source = { seed: 7, floatType: "fp32" } as const;
  const drawn = new RandomWeights({ ...source, isRepeating: false }).take(10_000, 0.5);
  const repeating = new RandomWeights({ ...source, isRepeating: true });
  const first = repeating.take(1_048_573, 0.5);
  const again = repeating.take(10_000, 0.5);
  expect(again).toEqual(drawn);
  const squares = Array.from(first).reduce((sum, value) => sum + value ** 2, 0);
  expect(Math.sqrt(squares / first.length)).toBeCloseTo(0.5, 2);
});

test.each(["fp32", "fp16"] as const)("products in a row stay finite in %s", async (floatType) => {
  const seed: Tensor = { type: "float32", data: Float32Array.of(1), dims: [1, 1] };
  const [corner] = await run(matmulGraph(128, floatType), { s: seed });
  expect(corner).toSatisfy(Number.isFinite);
  expect(corner).not.toBe(0);
});
