import { fileURLToPath } from "node:url";
import type { RerankResult } from "@rankfleet/sdk";
import { afterAll, beforeAll, expect, test } from "vitest";
import { TestFleet } from "./support/fleet.ts";
import { softwareGpu } from "./support/software-gpu.ts";

/**
 * The path of a GPU, on a Vulkan driver in software. Where that driver cannot be had the tests are skipped
 * and say so; in CI it must be had.
 */
const gpu = await softwareGpu();
const isAbsent = "missing" in gpu;
if (isAbsent) {
  if (process.env["CI"] === "true") throw new Error(`The WebGPU tests cannot run: ${gpu.missing}`);
  console.warn(`The WebGPU tests are skipped: ${gpu.missing}`);
}

const tiny = fileURLToPath(new URL("../fixtures/tiny-xlm-r", import.meta.url));
const env = {
  ...("env" in gpu ? gpu.env : {}),
  RANKFLEET_MODEL: `tiny=${tiny}`,
  RANKFLEET_SCORE_CACHE_PAIRS: "0",
};

let fleet: TestFleet;
beforeAll(async () => {
  fleet = await TestFleet.start();
});
afterAll(() => fleet.stop());

const request = {
  model: "tiny",
  query: "which plants like dry soil",
  documents: Array.from(
    { length: 40 },
    (_, i) => `document ${i} ${"of some words ".repeat(i % 9)}`,
  ),
};
const logits = ({ results }: RerankResult): number[] =>
  results
    .toSorted((a, b) => a.index - b.index)
    .map((each) => (each.error === undefined ? each.logit : Number.NaN));

test.skipIf(isAbsent)(
  "a WebGPU worker scores as a CPU worker does, and may serve beside it",
  async () => {
    const client = fleet.client();
    await fleet.worker({ ...env, RANKFLEET_DEVICE: "cpu" });
    const onCpu = logits(await client.rerank(request));
    // It would refuse to join if it scored the calibration pairs otherwise.
    const onGpu = await fleet.worker({
      ...env,
      RANKFLEET_DEVICE: "webgpu",
      RANKFLEET_DEVICE_OPTIONS: '{"preferredLayout": "NCHW"}',
    });
    const metrics = await (await fetch(`${onGpu.url}/metrics`)).text();
    expect(metrics).toMatch(/rankfleet_model_info\{[^}]*device="webgpu"/u);
    await fleet.killWorkers();
    await fleet.worker({ ...env, RANKFLEET_DEVICE: "webgpu" });
    const there = logits(await client.rerank(request));
    const differences = there.map((logit, i) => Math.abs(logit - onCpu[i]!));
    expect(Math.max(...differences)).toBeLessThan(1e-4);
  },
  120_000,
);

test.skipIf(isAbsent)("options that are no JSON object are refused at the start", async () => {
  await expect(
    fleet.worker({ ...env, RANKFLEET_DEVICE: "webgpu", RANKFLEET_DEVICE_OPTIONS: "not json" }),
  ).rejects.toThrow("ended with 2");
});
