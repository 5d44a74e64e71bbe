import { execFileSync } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, readdirSync, rmSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { PoisonStore } from "@rankfleet/queue";
import { keysFor } from "@rankfleet/queue/contract";
import type { RerankRequest } from "@rankfleet/sdk";
import { passages } from "../../support/texts.ts";
import { drive } from "../drive.ts";
import { judge, type Fault } from "../fault.ts";
import { preload } from "../preload.ts";
import { History, type Logits } from "../history.ts";
import { MODEL, modelFolder, requestsOf, undisturbed, World } from "../world.ts";

/** What becomes of a pair, and the codes by which it may be reported. */
const EFFECTS = {
  nan: ["score_not_finite"],
  throw: ["inference_failed"],
  // Mostly ONNX Runtime says that it cannot have so much; now and then the process dies of it elsewhere.
  memory: ["inference_failed", "worker_killed"],
  kill: ["worker_killed"],
  hang: ["worker_killed"],
} as const;
type Effect = keyof typeof EFFECTS;

export const poison: Fault = {
  name: "poison",
  what: "one pair in 1,000 gives NaN, throws, exhausts memory, kills its worker, or hangs the device",
  async run({ say }) {
    const words = await unusedWords(Object.keys(EFFECTS).length);
    const effects = (Object.keys(EFFECTS) as Effect[]).map((effect, i) => ({
      effect,
      word: words[i]!,
    }));
    const requests = effects.flatMap(({ word }, i) => withPoison(1000 * i, word.text));
    const expected = blankPoison(await undisturbed(requests));
    const world = await World.start(0);
    const history = new History(requests);
    const trials = new Trials();
    const env = {
      NODE_OPTIONS: preload("poison-session"),
      CHAOS_POISON: JSON.stringify(
        Object.fromEntries(effects.map(({ effect, word }) => [word.id, effect])),
      ),
      CHAOS_TRIALS: trials.folder,
      RANKFLEET_WATCHDOG_MS: String(WATCHDOG_MS),
      CHAOS_CORE: createRequire(import.meta.url).resolve("@rankfleet/core"),
    };
    const deaths = { nan: 0, throw: 0, memory: 0, kill: 0, hang: 0, nothing: 0 };
    const ending = new AbortController();
    const supervise = async (): Promise<void> => {
      while (!ending.signal.aborted) {
        const worker = await world.addWorker(env);
        const pid = String(worker.child.pid);
        execFileSync("prlimit", ["--pid", pid, `--data=${MEMORY}`]);
        await worker.ended;
        world.forget(worker);
        if (!ending.signal.aborted) deaths[trials.of(pid).at(-1) ?? "nothing"]++;
      }
    };
    const supervisors = [supervise(), supervise()];
    const store = new PoisonStore(world.fleet.redis, keysFor());
    const reported: string[] = [];
    let triedAgain = 0;
    try {
      const stopWatching = await history.watchWrites(world.fleet.redis);
      const client = world.fleet.client();
      for (const [i, { effect }] of effects.entries()) {
        await drive(client, requests, history, { from: i * JOBS, to: (i + 1) * JOBS });
        // The same pair in another job: known by now, so nothing dies of it again.
        const before = trials.count(effect);
        const { results } = await client.rerank({
          ...requests[i * JOBS + POISONED]!,
          metadata: { again: true },
        });
        const bad = results.find((each) => each.error !== undefined);
        reported.push(`${bad?.index}:${bad?.error?.code}`);
        triedAgain += trials.count(effect) - before;
        say(`${effect}: reported as ${bad?.error?.code}, ${deaths[effect]} worker deaths`);
      }
      const listed = await store.list(MODEL);
      ending.abort();
      await world.fleet.killWorkers();
      await Promise.all(supervisors);
      stopWatching();
      const areReported = effects.every(({ effect }, i) =>
        EFFECTS[effect].some((code) => reported[i] === `${POISON_INDEX}:${code}`),
      );
      return judge(this.name, history, expected, {
        isShown:
          areReported &&
          Object.values(deaths).every((count) => count <= 3) &&
          deaths.nan + deaths.throw + deaths.nothing + triedAgain === 0 &&
          listed.length === effects.length &&
          listed.every(({ digest }) => digest.length > 0),
        facts: {
          deathsOfKill: deaths.kill,
          deathsOfHang: deaths.hang,
          deathsOfMemory: deaths.memory,
          otherDeaths: deaths.nan + deaths.throw + deaths.nothing,
          triedAgain,
          reported: reported.join(" "),
          listed: listed.length,
        },
      });
    } finally {
      ending.abort();
      await world.stop();
      trials.remove();
    }
  },
};

/**
 * What the marked pairs did to each worker, as it wrote it down before. Only so is it known what a worker died of: of too
 * little memory some take so long to end that others have failed the pair meanwhile, and the next one is under way.
 */
class Trials {
  readonly folder = mkdtempSync(join(tmpdir(), "rankfleet-trials-"));

  of(pid: string): Effect[] {
    const file = join(this.folder, pid);
    if (!existsSync(file)) return [];
    return readFileSync(file, "utf8").trim().split("\n") as Effect[];
  }

  /** How often a forward pass has read that pair. */
  count(effect: Effect): number {
    const all = readdirSync(this.folder).flatMap((pid) => this.of(pid));
    return all.filter((each) => each === effect).length;
  }

  remove(): void {
    rmSync(this.folder, { recursive: true, force: true });
  }
}

/** What a worker may have, in bytes: several times what it needs. */
const MEMORY = 3 * 1024 ** 3;
/** How long a device may not answer. */
const WATCHDOG_MS = 5_000;
const JOBS = 20;
/** Which job, and which of its 50 documents. */
const POISONED = 7;
const POISON_INDEX = 23;

/** 1,000 pairs, one of which holds the word. */
function withPoison(first: number, word: string): RerankRequest[] {
  return requestsOf(JOBS, 50).map((request, i) => ({
    ...request,
    query: `${first} ${request.query}`,
    documents: request.documents.map((document, index) =>
      i === POISONED && index === POISON_INDEX ? `${document as string} ${word}` : document,
    ),
  }));
}

function blankPoison(expected: readonly Logits[]): Logits[] {
  return expected.map((logits, i) =>
    i % JOBS === POISONED
      ? logits.map((logit, index) => (index === POISON_INDEX ? null : logit))
      : logits,
  );
}

/** Words that are one token each and stand in none of the texts. */
async function unusedWords(count: number): Promise<{ text: string; id: number }[]> {
  const folder = await modelFolder();
  const { model } = JSON.parse(readFileSync(join(folder, "tokenizer.json"), "utf8")) as {
    model: { vocab: Record<string, number> };
  };
  const all = passages.join(" ").toLowerCase();
  const words = Object.entries(model.vocab)
    .filter(([text]) => /^[a-z]{7,}$/u.test(text) && !all.includes(text))
    .slice(0, count);
  return words.map(([text, id]) => ({ text, id }));
}
