import { availableParallelism, totalmem } from "node:os";
import type { ModelFacts } from "../model/family.ts";
import { quantizesDynamically, type ModelFolder } from "../model/folder.ts";
import type { EncodedRequest } from "../tokenize/pairs.ts";
import { CalibrationCache, type CalibrationKey } from "./calibration-cache.ts";
import {
  calibrate,
  coreSplits,
  probe,
  probeRows,
  speedOf,
  type Calibration,
  type CoreSplit,
  type Encode,
  type Probe,
} from "./calibration.ts";
import { CoreError } from "../errors.ts";
import { Device } from "./device.ts";
import { Encoder } from "./encoder.ts";
import { usableCores } from "./usable-cores.ts";

export interface EngineOptions {
  /** Weights to take: `fp32`, `fp16`, `int8`, `q8`, `q4` …; by default the first that the folder has. */
  readonly dtype?: string | undefined;
  /** `cpu`, `cuda`, `cuda:1`, `tensorrt`, `webgpu`, `coreml`, `directml` or `auto` (default). */
  readonly device?: string | undefined;
  /** ONNX Runtime's options of that device's execution provider, e.g. `{ preferredLayout: "NCHW" }`. */
  readonly deviceOptions?: Readonly<Record<string, unknown>> | undefined;
  /** CPU threads for forward passes, at most one a core; by default as many as there are cores. */
  readonly threads?: number | undefined;
  /**
   * Measure the model on its device before the first request, or take the figures from this folder if
   * they are there. Default: no calibration; what batches cost is then learnt from the requests' own.
   */
  readonly calibrationFolder?: string | undefined;
  /** Measure again, whatever the folder has. Default false. */
  readonly isRecalibrating?: boolean | undefined;
  /** Equal pairs that wait at the same time are scored once. Default true. */
  readonly isSharing?: boolean | undefined;
}

/** The threads of one model, and what is known of them. */
export interface Engine {
  readonly encoder: Encoder;
  readonly devices: readonly Device[];
  readonly calibration: Calibration | undefined;
  readonly probe: Probe;
}

/** @throws CoreError `model_unsupported` or `device_unavailable`; no thread is left behind. */
export async function openEngine(
  folder: ModelFolder,
  facts: ModelFacts,
  options: EngineOptions,
): Promise<Engine> {
  const encoder = new Encoder({ folder, withHashes: options.isSharing !== false });
  const encode: Encode = async (request): Promise<EncodedRequest> =>
    (await encoder.encode(request)).encoded;
  const pool = new DevicePool();
  try {
    const starting = encoder.ready;
    const rows = probeRows(encode);
    rows.catch(() => {}); // Whatever fails here is told below, unless a device fails first.
    const found = await openDevices(pool, folder, facts, options, encode, starting);
    await starting;
    const isDynamic = (): Promise<boolean> => quantizesDynamically(folder);
    return { encoder, ...found, probe: await probe(found.devices[0]!, await rows, isDynamic) };
  } catch (error) {
    await Promise.all([encoder.close(), pool.close()]);
    throw asLoadError(error);
  }
}

/** What fails on the first pairs of all would fail on all. */
function asLoadError(error: unknown): unknown {
  if (!CoreError.isInstance(error) || error.code !== "inference_failed") return error;
  const message = `the graph cannot be run: ${error.message}`;
  return new CoreError("model_unsupported", message, { field: "model", cause: error });
}

/** What is open, so that whatever fails leaves no thread behind. */
class DevicePool {
  readonly #devices = new Set<Device>();

  /** All of them, or none. */
  async open(opening: readonly Promise<Device>[]): Promise<Device[]> {
    const outcomes = await Promise.allSettled(opening);
    const opened = outcomes.flatMap((each) => (each.status === "fulfilled" ? [each.value] : []));
    for (const device of opened) this.#devices.add(device);
    const failed = outcomes.find((each) => each.status === "rejected");
    if (failed === undefined) return opened;
    await this.close(opened);
    throw failed.reason;
  }

  async close(devices: Iterable<Device> = this.#devices): Promise<void> {
    const closing = [...devices];
    for (const device of closing) this.#devices.delete(device);
    await Promise.all(closing.map((device) => device.close()));
  }
}

/**
 * Weights above this are loaded once, not once a thread: two single-threaded sessions score 2.0× one
 * two-threaded session for a tiny model, but only 1.1× for MiniLM-L6 (measured on 2 cores, 2026-11).
 */
const LARGE_WEIGHTS_BYTES = 512 * 1024 * 1024;

/** Of the machine's memory, or the container's, sessions may take half: weights, and as much again for a pass. */
function fits({ weightsBytes }: ModelFolder, sessions: number): boolean {
  // 0 or a number beyond all memory where nothing constrains the process.
  const constrained = process.constrainedMemory() || Infinity;
  return 2 * weightsBytes * sessions < 0.5 * Math.min(constrained, totalmem());
}

async function openDevices(
  pool: DevicePool,
  folder: ModelFolder,
  facts: ModelFacts,
  options: EngineOptions,
  encode: Encode,
  tokenizing: Promise<unknown>,
): Promise<{ devices: readonly Device[]; calibration: Calibration | undefined }> {
  const { deviceOptions, device = "auto" } = options;
  // More than there are cores would take turns, and each session costs memory.
  const threads = Math.min(options.threads ?? usableCores(), availableParallelism());
  const isOnCpu = device === "cpu" || device === "auto";
  const canSplit = isOnCpu && folder.weightsBytes < LARGE_WEIGHTS_BYTES;
  const one: CoreSplit = { sessions: 1, intraOpThreads: threads };
  const fitting = coreSplits(threads).filter(({ sessions }) => fits(folder, sessions));
  const splits = canSplit && fitting.length > 0 ? fitting : [one];
  const open = async ({ sessions, intraOpThreads }: CoreSplit): Promise<Device[]> => {
    const several = (count: number): Promise<Device[]> =>
      pool.open(
        Array.from({ length: count }, () =>
          Device.open(folder, { device, intraOpThreads, deviceOptions }),
        ),
      );
    if (device !== "auto") return several(sessions);
    // What loads decides: of a GPU one session is all of it.
    const [first] = await several(1);
    return first!.name === "cpu" ? [first!, ...(await several(sessions - 1))] : [first!];
  };
  const { calibrationFolder } = options;
  if (calibrationFolder === undefined) {
    return { devices: await open(splits[0]!), calibration: undefined };
  }

  const cache = new CalibrationCache(calibrationFolder);
  const { revision, dtype } = facts;
  let devices = await open(splits[0]!);
  const [first] = devices;
  const key: CalibrationKey = {
    revision,
    dtype,
    device: first!.name,
    threads,
    runtime: first!.runtime,
    deviceOptions,
  };
  const known = options.isRecalibrating ? undefined : await cache.read(key);
  if (known !== undefined) {
    if (known.split.sessions !== devices.length) {
      await pool.close(devices);
      devices = await open(known.split);
    }
    return { devices, calibration: known };
  }
  await tokenizing;
  let split = splits[0]!;
  let speed = splits.length > 1 ? await speedOf(devices, encode) : 0;
  for (const other of first!.name === "cpu" ? splits.slice(1) : []) {
    const rivals = await open(other);
    const rivalSpeed = await speedOf(rivals, encode);
    // More sessions hide each other's gaps, so fewer must be clearly faster.
    const isBetter = rivalSpeed > 1.05 * speed;
    await pool.close(isBetter ? devices : rivals);
    if (isBetter) [devices, split, speed] = [rivals, other, rivalSpeed];
  }
  const calibration = await calibrate(devices, split, encode, facts.maxTokens);
  await cache.write(key, calibration);
  return { devices, calibration };
}
