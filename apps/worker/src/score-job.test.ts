import { expect, test } from "vitest";
import { float32 } from "./score-job.ts";

test("a logit in the record has nine digits, and is the same float32 to the bit", () => {
  const view = new DataView(new ArrayBuffer(4));
  // Every sign and exponent, mantissas spread evenly.
  for (let bits = 0; bits < 2 ** 32; bits += 99_991) {
    view.setUint32(0, bits);
    const logit = view.getFloat32(0);
    if (!Number.isFinite(logit)) continue;
    const kept = float32(logit);
    if (Math.fround(kept) !== logit) throw new Error(`${logit} became ${kept}`);
    if (kept !== Number(kept.toPrecision(9))) throw new Error(`${kept} has not nine digits`);
  }
  expect([0, 1, -0.1, 12.5].map(float32)).toEqual([0, 1, -0.1, 12.5]);
});
