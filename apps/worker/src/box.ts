import { fileURLToPath } from "node:url";

/** The folder of the model that comes with rankfleet. */
export function boxFolder(): string {
  return fileURLToPath(new URL("../../../models/box", import.meta.url));
}
