import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, expect, test } from "vitest";
import { Reranker } from "../reranker.ts";

const folders: string[] = [];
afterEach(async () => {
  for (const folder of folders.splice(0)) await rm(folder, { recursive: true });
});

async function simulatedFolder(simulated: object): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), "rankfleet-simulated-"));
  folders.push(folder);
  const config = { model_type: "rankfleet-simulated", rankfleet: { simulated } };
  await writeFile(join(folder, "config.json"), JSON.stringify(config));
  return folder;
}

const documents = Array.from({ length: 100 }, (_, i) => `passage ${i} `.repeat(1 + (i % 7)));

test("a simulated device says that it is one, and gives a pair the same score in any company", async () => {
  const reranker = await Reranker.load(await simulatedFolder({}), { threads: 1 });
  try {
    expect([reranker.devices[0]!.name, reranker.facts.dtype]).toEqual(["simulated", "simulated"]);
    const texts = { query: "what is simulated", documents };
    const together = await reranker.score({ texts });
    const alone = await reranker.score({ texts: { ...texts, documents: [documents[42]!] } });
    expect(alone.documents[0]).toEqual(together.documents[42]);
    const logits = together.documents.map((d) => (d.state === "scored" ? d.logit : Number.NaN));
    expect(new Set(logits).size).toBe(100);
  } finally {
    await reranker.close();
  }
});

test("it takes the time that its cost model says", async () => {
  const reranker = await Reranker.load(await simulatedFolder({ pairs_per_second: 1000 }), {
    threads: 1,
  });
  try {
    const start = performance.now();
    await reranker.score({ texts: { query: "how long", documents } });
    expect(performance.now() - start).toBeGreaterThan(99);
    expect(reranker.devices[0]!.busyMs).toBeGreaterThan(99);
  } finally {
    await reranker.close();
  }
});

test("a cost that is no number is refused by name", async () => {
  const folder = await simulatedFolder({ fixed_ms: "a lot" });
  await expect(Reranker.load(folder)).rejects.toMatchObject({
    code: "model_folder_invalid",
    message: expect.stringContaining("rankfleet.simulated.fixed_ms must be a number"),
  });
});
