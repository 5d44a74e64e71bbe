import type { EncodedPairs, Reranker } from "@rankfleet/core";

/** Batches of one shape, timed. */
export interface TimedShape {
  readonly rows: number;
  readonly length: number;
  /** Round by round. */
  readonly pairsPerSecond: readonly number[];
  readonly passes: number;
}

const ROUNDS = 3;

/**
 * Passes through the reranker's own inference thread, as a worker's batches go: messages, packing and the forward pass.
 *
 * @param seconds About how long, after a warm-up in which the device compiles what is new in the shape.
 * @throws Error if a score is no finite number; what the device throws.
 */
export async function timeShape(
  { devices: [device] }: Reranker,
  shape: { rows: number; length: number; vocabulary: number },
  seconds: number,
): Promise<TimedShape> {
  const batch = batchOf(shape);
  let passes = 0;
  let lastMs = 0;
  const pass = async (): Promise<void> => {
    const { logits, durationMs } = await device!.run(copyOf(batch));
    if (!logits.every(Number.isFinite)) throw new Error("a score is no finite number");
    passes++;
    lastMs = durationMs;
  };
  const round = async (ms: number, underWay: number): Promise<number> => {
    const [start, before] = [performance.now(), passes];
    const feed = async (): Promise<void> => {
      do await pass();
      while (performance.now() - start < ms);
    };
    await Promise.all(Array.from({ length: underWay }, feed));
    return (1000 * shape.rows * (passes - before)) / (performance.now() - start);
  };
  await round(0, 2);
  const pairsPerSecond: number[] = [];
  const underWay = batchesUnderWay(lastMs);
  for (let i = 0; i < ROUNDS; i++) {
    pairsPerSecond.push(await round((1000 * seconds) / ROUNDS, underWay));
  }
  return { rows: shape.rows, length: shape.length, pairsPerSecond, passes };
}

/** As many as a worker sends ahead (core's batcher): some 15 ms of work, from 2 to 8. */
function batchesUnderWay(ms: number): number {
  return Math.min(8, Math.max(2, 1 + Math.ceil(15 / Math.max(0.1, ms))));
}

/** Rows of equal length and of any words: nothing is padded, and what the words are costs nothing. */
function batchOf({
  rows,
  length,
  vocabulary,
}: {
  rows: number;
  length: number;
  vocabulary: number;
}): EncodedPairs {
  const tokens = rows * length;
  return {
    ids: Int32Array.from({ length: tokens }, (_, i) => (i * 7919) % vocabulary),
    offsets: Int32Array.from({ length: rows + 1 }, (_, row) => row * length),
    secondStarts: new Int32Array(rows).fill(Math.min(12, length >> 1)),
  };
}

/** A batch's arrays move to the thread. */
function copyOf({ ids, offsets, secondStarts }: EncodedPairs): EncodedPairs {
  return { ids: ids.slice(), offsets: offsets.slice(), secondStarts: secondStarts.slice() };
}
