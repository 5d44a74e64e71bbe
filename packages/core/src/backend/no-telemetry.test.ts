import { execFile } from "node:child_process";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { expect, test } from "vitest";

/** A process that loads the model in the box as a worker does, then shows which files it holds open. */
const PROGRAM = `
  const { readdirSync, readlinkSync } = require("node:fs");
  import(process.argv[1]).then(async ({ Reranker }) => {
    const reranker = await Reranker.load(process.argv[2]);
    const open = readdirSync("/proc/self/fd").map((fd) => {
      try { return readlinkSync("/proc/self/fd/" + fd); } catch { return ""; }
    });
    console.log(JSON.stringify(open));
    await reranker.close();
  });
`;

test.runIf(process.platform === "linux")(
  "ONNX Runtime does not gather events to send off",
  async () => {
    const core = new URL("../../dist/index.js", import.meta.url).href;
    const box = fileURLToPath(new URL("../../../../models/box", import.meta.url));
    const { CI: _, ...env } = process.env; // in CI it is quiet by itself
    const { stdout } = await promisify(execFile)(process.execPath, ["--eval", PROGRAM, core, box], {
      env,
    });
    const open = JSON.parse(stdout) as string[];
    expect(open.length).toBeGreaterThan(3);
    expect(open.filter((file) => /mat-debug|onnxruntime\.db/u.test(file))).toEqual([]);
  },
);
