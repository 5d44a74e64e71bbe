import { spawn } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { startWatchdog } from "./watchdog.ts";

test("it bites when the same trouble has lasted, not when one follows another", async () => {
  let troubles: string[] = [];
  const bites: string[] = [];
  const watchdog = startWatchdog({
    patienceMs: 500,
    troubles: () => troubles,
    onBite: (trouble) => bites.push(trouble),
  });
  for (const trouble of ["a", "b", "a", "b"]) {
    troubles = [trouble];
    await new Promise((resolve) => setTimeout(resolve, 250));
  }
  expect(bites).toEqual([]);
  troubles = ["no Redis"];
  await expect.poll(() => bites, { timeout: 3_000 }).toEqual(["no Redis"]);
  watchdog.close();
});

test("a main thread that is stuck is killed from outside", async () => {
  const module = fileURLToPath(new URL("../dist/watchdog.js", import.meta.url));
  const program = `
    import { startWatchdog } from ${JSON.stringify(module)};
    startWatchdog({ patienceMs: 500, troubles: () => [], onBite: () => {} });
    setTimeout(() => { for (;;); }, 300);
    setInterval(() => {}, 1000);`;
  const child = spawn(process.execPath, ["--input-type=module", "-e", program], {
    stdio: ["ignore", "ignore", "pipe"],
  });
  let said = "";
  child.stderr.on("data", (chunk: Buffer) => (said += chunk.toString()));
  const [, signal] = (await once(child, "close")) as [number, string];
  expect(signal).toBe("SIGKILL");
  expect(JSON.parse(said)).toMatchObject({ level: "fatal" });
});
