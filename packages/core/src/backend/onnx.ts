import "./no-telemetry.ts";
import { existsSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import * as ort from "onnxruntime-node";
import { CoreError } from "../errors.ts";
import type { Backend, BackendOptions, Tensor } from "./backend.ts";

/** ONNX Runtime, all execution providers; the only file that knows `onnxruntime-node`. */
export async function openOnnx(file: string, options: BackendOptions): Promise<Backend> {
  if (options.device === "auto" && options.deviceOptions !== undefined) {
    const message = `device options need a device: with "auto" nobody knows which provider they are meant for`;
    throw new CoreError("device_unavailable", message, { field: "deviceOptions" });
  }
  const { session, device } = await firstThatLoads(file, options);
  return {
    facts: {
      device,
      runtime: `onnxruntime-node ${version()}`,
      inputs: session.inputNames,
      outputs: session.outputNames,
    },
    run: async (feeds) => {
      const results = await session.run(mapValues(feeds, toOrt));
      const tensors = Object.entries(results).flatMap(([name, value]) => {
        const tensor = fromOrt(value);
        return tensor === undefined ? [] : [[name, tensor] as const];
      });
      return Object.fromEntries(tensors);
    },
    close: () => session.release(),
  };
}

/** What `auto` tries, best first. CUDA's libraries are an extra step, so it is tried where they are. */
function autoDevices(): string[] {
  const library = join(
    packageFolder(),
    "bin",
    "napi-v6",
    process.platform,
    process.arch,
    "libonnxruntime_providers_cuda.so",
  );
  return existsSync(library) ? ["cuda", "cpu"] : ["cpu"];
}

async function firstThatLoads(
  file: string,
  options: BackendOptions,
): Promise<{ session: ort.InferenceSession; device: string }> {
  const devices = options.device === "auto" ? autoDevices() : [options.device];
  let failure = "";
  for (const device of devices) {
    try {
      const session = await ort.InferenceSession.create(file, sessionOptions(device, options));
      return { session, device };
    } catch (error) {
      failure = withoutSource(error instanceof Error ? error.message : String(error));
    }
  }
  // The CPU is always there.
  if (devices.at(-1) === "cpu") {
    throw new CoreError("model_unsupported", `cannot load ${file}: ${failure}`, { field: "model" });
  }
  const advice = adviceFor(options.device, failure);
  const why = advice === undefined ? failure : `${advice} (${failure})`;
  const message = `cannot load ${file} on device "${options.device}": ${why}`;
  throw new CoreError("device_unavailable", message, { field: "device" });
}

/** What to do about it, where that is known. */
function adviceFor(device: string, failure: string): string | undefined {
  const [kind] = device.split(":");
  if (kind === "cuda" || kind === "tensorrt") return "CUDA needs one more step, docs/worker.md#gpu";
  // Else it has met a GPU, and something else is wrong.
  if (kind !== "webgpu" || !failure.includes("adapter")) return undefined;
  return (
    "no GPU is found. On Linux that takes a Vulkan loader (libvulkan1) and the GPU's driver, " +
    "whose file VK_DRIVER_FILES names if it is not found by itself: docs/worker.md#gpu"
  );
}

/** Of `/…/file.cc:136 signature(…) condition was false. What is wrong`, what is wrong. */
function withoutSource(message: string): string {
  return message.trim().replace(/^\/\S+:\d+ (?:.* was false\. |.*?\)(?:::\S+)? )/u, "");
}

/** Providers by the name that users give them: ONNX Runtime's own, but for DirectML. */
const PROVIDERS: Readonly<Record<string, string>> = {
  cpu: "cpu",
  cuda: "cuda",
  tensorrt: "tensorrt",
  webgpu: "webgpu",
  coreml: "coreml",
  directml: "dml",
};

function deviceNames(): string[] {
  return Object.keys(PROVIDERS);
}

function sessionOptions(
  device: string,
  options: BackendOptions,
): ort.InferenceSession.SessionOptions {
  const [, kind = "", ordinal] = /^([a-z]+)(?::(\d+))?$/u.exec(device) ?? [];
  const name = PROVIDERS[kind];
  if (name === undefined) {
    throw new Error(`there is no device of this name, but ${deviceNames().join(", ")} and auto`);
  }
  const provider = {
    name,
    ...(ordinal === undefined ? {} : { deviceId: Number(ordinal) }),
    ...options.deviceOptions,
  };
  return {
    executionProviders: [provider],
    intraOpNumThreads: options.intraOpThreads,
    interOpNumThreads: 1,
    executionMode: "sequential",
    graphOptimizationLevel: "all",
    logSeverityLevel: 3,
  };
}

function toOrt(tensor: Tensor): ort.Tensor {
  return tensor.type === "int64"
    ? new ort.Tensor("int64", tensor.data, tensor.dims)
    : new ort.Tensor("float32", tensor.data, tensor.dims);
}

/** Undefined for what is no float: no reranker's answer. */
function fromOrt(value: ort.OnnxValue): Tensor | undefined {
  if (value instanceof ort.Tensor && value.type === "float32") {
    return { type: "float32", data: value.data as Float32Array, dims: value.dims };
  }
  if (value instanceof ort.Tensor && value.type === "float16") {
    return { type: "float32", data: halfToFloat(value.data), dims: value.dims };
  }
  return undefined;
}

/** float16 comes as its bits in a Uint16Array, or as numbers where JavaScript has Float16Array. */
function halfToFloat(data: ort.Tensor.DataType): Float32Array {
  if (!(data instanceof Uint16Array)) return Float32Array.from(data as Iterable<number>);
  return Float32Array.from(data, (bits) => {
    const sign = bits & 0x8000 ? -1 : 1;
    const exponent = (bits >> 10) & 0x1f;
    const fraction = bits & 0x3ff;
    if (exponent === 0) return sign * fraction * 2 ** -24;
    if (exponent === 0x1f) return fraction === 0 ? sign * Infinity : Number.NaN;
    return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
  });
}

function mapValues<A, B>(record: Readonly<Record<string, A>>, map: (a: A) => B): Record<string, B> {
  return Object.fromEntries(Object.entries(record).map(([key, value]) => [key, map(value)]));
}

const require: NodeJS.Require = createRequire(import.meta.url);

function packageFolder(): string {
  return dirname(require.resolve("onnxruntime-node/package.json"));
}

function version(): string {
  return (require("onnxruntime-node/package.json") as { version: string }).version;
}
