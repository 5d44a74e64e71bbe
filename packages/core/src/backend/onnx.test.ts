import { join } from "node:path";
import { beforeAll, expect, test, vi } from "vitest";
import { boxFolder } from "../test-models.ts";
import { openOnnx } from "./onnx.ts";

const weights = join(boxFolder, "onnx", "model.onnx");

async function refusal(device: string): Promise<string> {
  const opening = openOnnx(weights, { device, intraOpThreads: 1 });
  const error: unknown = await opening.catch((refused: unknown) => refused);
  expect(error).toMatchObject({ code: "device_unavailable", field: "device" });
  return (error as Error).message;
}

// Also where there is a GPU, none is found.
beforeAll(() => void vi.stubEnv("VK_DRIVER_FILES", "/nowhere"));

test.runIf(process.platform === "linux" && process.arch === "x64")(
  "without a Vulkan driver WebGPU says what is missing, and of ONNX Runtime's words the last",
  async () => {
    const message = await refusal("webgpu");
    expect(message).toMatch(/libvulkan1.*VK_DRIVER_FILES.*docs\/worker\.md#gpu/u);
    expect(message).toMatch(/\(Failed to get a WebGPU adapter: [^\n]*\)$/u);
    expect(message).not.toMatch(/CUDA|onnxruntime_src/u);
  },
);

test.each(["cuda:99", "tensorrt:99"])("%s has the advice about CUDA", async (device) => {
  expect(await refusal(device)).toMatch(/CUDA.*docs\/worker\.md#gpu/u);
});

test("a device that nobody knows is told from those that are known", async () => {
  const message = await refusal("abacus");
  expect(message).toMatch(/no device of this name.*cpu, cuda, tensorrt, webgpu/u);
  expect(message).not.toMatch(/CUDA|Vulkan/u);
});
