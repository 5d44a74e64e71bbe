import { createHash, randomUUID } from "node:crypto";
import { mkdir, readFile, rename, writeFile } from "node:fs/promises";
import { cpus } from "node:os";
import { join } from "node:path";
import type { CostSample } from "../batch/cost.ts";
import type { Calibration, CoreSplit } from "./calibration.ts";

/** What a calibration holds for: nothing of it may change. */
export interface CalibrationKey {
  readonly revision: string;
  readonly dtype: string;
  readonly device: string;
  readonly threads: number;
  readonly runtime: string;
  /** The execution provider's. */
  readonly deviceOptions?: Readonly<Record<string, unknown>> | undefined;
}

/**
 * Calibrations as JSON files in a folder, one a key and machine type. A file that cannot be read, or holds
 * what is no calibration, is as good as none: measuring again is always possible.
 */
export class CalibrationCache {
  readonly #folder: string;

  constructor(folder: string) {
    this.#folder = folder;
  }

  async read(key: CalibrationKey): Promise<Calibration | undefined> {
    try {
      const { key: stored, calibration } = JSON.parse(await readFile(this.file(key), "utf8")) as {
        key: unknown;
        calibration: unknown;
      };
      const isOfKey = JSON.stringify(stored) === JSON.stringify(whole(key));
      return isOfKey && isCalibration(calibration, key.threads) ? calibration : undefined;
    } catch {
      return undefined;
    }
  }

  /** Atomic: a reader sees the old file or the new one. A folder that cannot be written is no reason to fail. */
  async write(key: CalibrationKey, calibration: Calibration): Promise<void> {
    const file = this.file(key);
    const draft = `${file}.${randomUUID()}`;
    try {
      await mkdir(this.#folder, { recursive: true });
      await writeFile(draft, JSON.stringify({ key: whole(key), calibration }, undefined, 1));
      await rename(draft, file);
    } catch {
      // The next start measures again.
    }
  }

  file(key: CalibrationKey): string {
    const digest = createHash("sha256")
      .update(JSON.stringify(whole(key)))
      .digest("hex");
    return join(this.#folder, `${key.revision}-${key.dtype}-${digest.slice(0, 12)}.json`);
  }
}

function whole(key: CalibrationKey): object {
  const { revision, dtype, device, threads, runtime, deviceOptions } = key;
  const all = cpus();
  return {
    version: 2,
    revision,
    dtype,
    device,
    threads,
    runtime,
    deviceOptions,
    cpu: all[0]?.model,
    cores: all.length,
  };
}

function isCalibration(value: unknown, threads: number): value is Calibration {
  if (!isRecord<Calibration>(value)) return false;
  const { split, samples, kneeTokens, maxSquares, bytesPerToken, measuredAt } = value;
  return (
    isSplit(split, threads) &&
    Array.isArray(samples) &&
    samples.length > 0 &&
    samples.every(isSample) &&
    isAboveZero(kneeTokens) &&
    (maxSquares === undefined || isAboveZero(maxSquares)) &&
    (bytesPerToken === 0 || isAboveZero(bytesPerToken)) &&
    typeof measuredAt === "string" &&
    !Number.isNaN(Date.parse(measuredAt))
  );
}

function isSplit(value: unknown, threads: number): boolean {
  if (!isRecord<CoreSplit>(value)) return false;
  const { sessions, intraOpThreads } = value;
  if (!isCount(sessions) || !isCount(intraOpThreads)) return false;
  return sessions * intraOpThreads <= threads;
}

function isSample(value: unknown): boolean {
  if (!isRecord<CostSample>(value)) return false;
  return isCount(value.rows) && isCount(value.length) && isAboveZero(value.ms);
}

function isRecord<Shape>(value: unknown): value is { readonly [Field in keyof Shape]?: unknown } {
  return typeof value === "object" && value !== null;
}

function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && isAboveZero(value);
}

/** JSON has numbers that are infinite here, 1e999. */
function isAboveZero(value: unknown): value is number {
  return typeof value === "number" && Number.isFinite(value) && value > 0;
}
