import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { openModelFolder } from "../model/folder.ts";
import { Device } from "./device.ts";

test("a batch's arrays move to the thread, and are gone here", async () => {
  const folder = await mkdtemp(join(tmpdir(), "rankfleet-simulated-"));
  await writeFile(join(folder, "config.json"), '{ "model_type": "rankfleet-simulated" }');
  const backend = { device: "cpu", intraOpThreads: 1 };
  const device = await Device.open(await openModelFolder(folder), backend);
  try {
    const batch = {
      ids: Int32Array.of(2, 7, 3, 8, 3),
      offsets: Int32Array.of(0, 5),
      secondStarts: Int32Array.of(3),
    };
    const { logits } = await device.run(batch);
    expect(logits).toHaveLength(1);
    // A copy would cost as much as the batch is large, on the thread that feeds every device.
    for (const array of Object.values(batch)) expect(array.buffer.byteLength).toBe(0);
  } finally {
    await device.close();
    await rm(folder, { recursive: true });
  }
});
