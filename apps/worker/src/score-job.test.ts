import { expect, test } from "vitest";
import { float32 } from "./score-job.ts";

test("a logit in the record has nine digits, and is the same float32 to the bit", () => {
  const [number, bits] = [new Float32Array(1), new Uint32Array(1)];
  const view = new Uint32Array(number.buffer);
  // Every sign and exponent, mantissas spread evenly.
  for (bits[0] = 0; bits[0]! < 2 ** 32 - 99_991; bits[0] = bits[0]! + 99_991) {
    view[0] = bits[0]!;
    const logit = number[0]!;
    if (!Number.isFinite(logit)) continue;
    const kept = float32(logit);
    if (Math.fround(kept) !== logit) throw new Error(`${logit} became ${kept}`);
    if (kept !== Number(kept.toPrecision(9))) throw new Error(`${kept} has not nine digits`);
  }
  expect([0, 1, -0.1, 12.5].map(float32)).toEqual([0, 1, -0.1, 12.5]);
});
