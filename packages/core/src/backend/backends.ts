import type { Backend, BackendOptions } from "./backend.ts";
import { openOnnx } from "./onnx.ts";
import { openSimulated } from "./simulated.ts";

/** The one list of backends, by the ending of the weights file that each one runs. */
const BACKENDS: Readonly<
  Record<string, (file: string, options: BackendOptions) => Promise<Backend>>
> = {
  ".onnx": openOnnx,
  "config.json": openSimulated,
};

/** @throws CoreError `device_unavailable` if the weights cannot be loaded on the device. */
export function openBackend(file: string, options: BackendOptions): Promise<Backend> {
  const open = Object.entries(BACKENDS).find(([ending]) => file.endsWith(ending))?.[1];
  if (open === undefined) throw new Error(`bug: no backend for ${file}`);
  return open(file, options);
}
