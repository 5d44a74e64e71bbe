import { fileURLToPath } from "node:url";

/**
 * NODE_OPTIONS that have a worker process load a module of ours before anything else: faults are put in
 * below the product, which knows nothing of them.
 */
export function preload(name: "skewed-clock" | "poison-session"): string {
  const file = fileURLToPath(new URL(`preloads/${name}.js`, import.meta.url));
  return `--import ${file.replace("/test/src/", "/test/dist/")}`;
}
