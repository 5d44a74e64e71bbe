import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { cli } from "../../support/fleet.ts";
import { collect, drive } from "../drive.ts";
import { judge, type Fault } from "../fault.ts";
import { History } from "../history.ts";
import { MODEL, requestsOf, undisturbed, World } from "../world.ts";

const producer = fileURLToPath(new URL("../producer.js", import.meta.url)).replace(
  "/src/",
  "/dist/",
);

export const producerKill: Fault = {
  name: "producer-kill",
  what: "SIGKILL of the producer in mid-bulk: run --resume, and re-attaching by ids",
  async run({ isShort, say }) {
    const requests = requestsOf(isShort ? 200 : 1_000, 20);
    const expected = await undisturbed(requests);
    const world = await World.start(1);
    const folder = mkdtempSync(join(tmpdir(), "rankfleet-chaos-"));
    const history = new History(requests);
    try {
      const [input, output] = [join(folder, "in.jsonl"), join(folder, "out.jsonl")];
      writeFileSync(
        input,
        requests.map((request, i) => JSON.stringify({ id: `r${i}`, ...request })).join("\n"),
      );
      const run = (...more: string[]): ReturnType<typeof spawn> =>
        spawn(process.execPath, [cli, "run", input, "--output", output, ...more], {
          env: { ...process.env, REDIS_URL: world.fleet.url },
          stdio: "ignore",
        });
      // Killed when some lines are written, however fast this machine is.
      const first = run("--model", MODEL);
      await untilLines(output, requests.length / 5);
      first.kill("SIGKILL");
      await once(first, "exit");
      const before = lines(output).length;
      say(`rankfleet run killed after ${before} of ${requests.length} lines; --resume`);
      const [code] = (await once(run("--model", MODEL, "--resume"), "exit")) as [number];
      const ids = lines(output).map(({ id }) => id);
      const isEachOnce = ids.length === requests.length && new Set(ids).size === ids.length;

      const stopWatching = await history.watchWrites(world.fleet.redis);
      const client = world.fleet.client();
      const acknowledged = await enqueueAndDie(world.fleet.url, requests.length, isShort);
      say(
        `producer killed after ${acknowledged.size} acknowledged jobs; another process re-attaches`,
      );
      for (const [number, id] of acknowledged) {
        history.submit();
        history.acknowledge(number, id);
      }
      const jobs = [...acknowledged].map(([number, id]) => [number, client.job(id)] as const);
      await collect(new Map(jobs), history);
      const reattached = history.delivered;
      // And the whole bulk again under the same keys: what is done is not done twice.
      const again = new History(requests);
      await drive(client, requests, again);
      stopWatching();
      const second = again.report(expected);
      return judge(this.name, history, expected, {
        isShown:
          code === 0 &&
          isEachOnce &&
          before < requests.length &&
          reattached > 0 &&
          second.lost + second.unequalScores === 0,
        facts: { linesBeforeKill: before, linesAfterResume: ids.length, reattached },
      });
    } finally {
      await world.stop();
      rmSync(folder, { recursive: true });
    }
  },
};

/** A process that enqueues and prints what was acknowledged, until it is killed in the middle. */
async function enqueueAndDie(
  url: string,
  count: number,
  isShort: boolean,
): Promise<ReadonlyMap<number, string>> {
  const child = spawn(process.execPath, [producer, String(count)], {
    env: { ...process.env, REDIS_URL: url },
    stdio: ["ignore", "pipe", "inherit"],
  });
  const exited = once(child, "exit");
  const acknowledged = new Map<number, string>();
  for await (const line of createInterface({ input: child.stdout })) {
    const [number, id] = line.split(" ");
    acknowledged.set(Number(number), id!);
    if (acknowledged.size === (isShort ? 60 : 300)) child.kill("SIGKILL");
  }
  await exited;
  return acknowledged;
}

function lines(file: string): { readonly id: string }[] {
  return readFileSync(file, "utf8")
    .split("\n")
    .filter((line) => line.endsWith("}"))
    .map((line) => JSON.parse(line) as { id: string });
}

async function untilLines(file: string, count: number): Promise<void> {
  for (;;) {
    try {
      if (lines(file).length >= count) return;
    } catch {
      // Not there yet.
    }
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}
