import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { openBackend, openModel, openModelFolder, type EncodedPairs } from "@rankfleet/core";
import { readModel, writeModel } from "./model-file.ts";
import { activationsToCalibrate, type Range } from "./quantize-static.ts";

/** A query and documents of the kind that the model will see. */
export interface CalibrationRequest {
  readonly query: string;
  readonly documents: readonly string[];
}

/**
 * Runs the float32 model over calibration text, pair by pair, and notes what its activations are: the range of
 * the 99.99 % in the middle rather than the extremes, which in transformers are a few outliers that
 * would leave all other values a handful of steps.
 *
 * @throws the signal's reason.
 */
export async function calibrateActivations(
  folder: string,
  requests: readonly CalibrationRequest[],
  signal?: AbortSignal,
): Promise<Map<string, Range>> {
  if (requests.length === 0) throw new Error("calibration needs a request at least");
  const opened = await openModelFolder(folder, "fp32");
  const graph = await readModel(opened.weights);
  const names = activationsToCalibrate(graph);
  const known = new Set(graph.graph.output.map(({ name }) => name));
  for (const name of names) {
    if (!known.has(name))
      graph.graph.output.push({ name, type: { tensor_type: { elem_type: 1 } } });
  }
  const work = await mkdtemp(join(tmpdir(), "rankfleet-quantize-"));
  try {
    const file = join(work, "model.onnx");
    await writeModel(file, graph);
    const session = await openBackend(file, { device: "cpu", intraOpThreads: 1 });
    const model = openModel(opened);
    const histograms = new Map(names.map((name) => [name, new Histogram()]));
    try {
      for (const { query, documents } of requests) {
        const { pairs } = model.encode(query, documents, {});
        for (let pair = 0; pair < pairs.secondStarts.length; pair++) {
          signal?.throwIfAborted();
          const feeds = model.inputs(onePair(pairs, pair), session.facts.inputs);
          const outputs = await session.run(feeds);
          for (const [name, histogram] of histograms) {
            const values = outputs[name];
            if (values?.type === "float32") histogram.add(values.data);
          }
        }
      }
    } finally {
      await session.close();
    }
    return new Map([...histograms].map(([name, histogram]) => [name, histogram.range(0.9999)]));
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}

function onePair(pairs: EncodedPairs, pair: number): EncodedPairs {
  const ids = pairs.ids.slice(pairs.offsets[pair], pairs.offsets[pair + 1]);
  return {
    ids,
    offsets: Int32Array.of(0, ids.length),
    secondStarts: Int32Array.of(pairs.secondStarts[pair]!),
  };
}

/** Counts of values by sign and logarithm, 64 bins an octave: a percent wide, whatever the range. */
class Histogram {
  readonly #counts = new Map<number, number>();
  #total = 0;

  add(values: Float32Array): void {
    for (const value of values) {
      const magnitude = Math.abs(value);
      const bin =
        magnitude < 1e-9 ? 0 : Math.sign(value) * (2000 + Math.ceil(64 * Math.log2(magnitude)));
      this.#counts.set(bin, (this.#counts.get(bin) ?? 0) + 1);
    }
    this.#total += values.length;
  }

  range(share: number): Range {
    const bins = [...this.#counts].sort(([a], [b]) => a - b);
    const skipped = ((1 - share) / 2) * this.#total;
    const edge = (ordered: readonly (readonly [number, number])[]): number => {
      let seen = 0;
      for (const [bin, count] of ordered) {
        seen += count;
        if (seen > skipped)
          return bin === 0 ? 0 : Math.sign(bin) * 2 ** ((Math.abs(bin) - 2000) / 64);
      }
      return 0;
    };
    return { min: edge(bins), max: edge(bins.toReversed()) };
  }
}
