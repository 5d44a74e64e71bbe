import { CoreError } from "../errors.ts";
import { crossEncoder } from "./cross-encoder.ts";
import type { PointwiseFamily, PointwiseModel } from "./family.ts";
import type { ModelFolder } from "./folder.ts";
import { simulated } from "./simulated.ts";

/** The one list of model families. */
const FAMILIES: readonly PointwiseFamily[] = [crossEncoder, simulated];

/** @throws CoreError `model_unsupported` if no family reads this folder. */
export function openModel(folder: ModelFolder): PointwiseModel {
  const family = FAMILIES.find((candidate) => candidate.accepts(folder));
  if (family !== undefined) return family.open(folder);
  const { model_type: type, architectures } = folder.config;
  throw new CoreError(
    "model_unsupported",
    `${folder.path}: no family here scores a ${type ?? "model without model_type"} ` +
      `(${architectures === undefined ? "no architectures" : String(architectures)}). Families: ${FAMILIES.map((f) => f.name).join(", ")}`,
    { field: "model" },
  );
}
