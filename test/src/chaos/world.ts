import { Reranker } from "@rankfleet/core";
import { modelFor } from "@rankfleet/bench/models";
import type { RerankRequest } from "@rankfleet/sdk";
import type { LocalRedisOptions } from "@rankfleet/local-redis";
import { passages } from "../support/texts.ts";
import { TestFleet, type WorkerProcess } from "../support/fleet.ts";
import type { Logits } from "./history.ts";

/** The name under which every fault's model is served. */
export const MODEL = "tiny";

/**
 * A BERT cross-encoder with random weights, small enough for a hundred thousand pairs, whose scores are
 * the same to the last bit in any batch.
 */
export function modelFolder(): Promise<string> {
  return modelFor("tiny", "fp32");
}

/** A Redis and workers that serve {@link MODEL}. */
export class World {
  readonly fleet: TestFleet;
  readonly #folder: string;
  readonly workers: WorkerProcess[] = [];

  private constructor(fleet: TestFleet, folder: string) {
    this.fleet = fleet;
    this.#folder = folder;
  }

  static async start(workers: number, redis?: LocalRedisOptions): Promise<World> {
    const world = new World(await TestFleet.start(redis), await modelFolder());
    try {
      await Promise.all(Array.from({ length: workers }, () => world.addWorker()));
    } catch (error) {
      await world.stop();
      throw error;
    }
    return world;
  }

  async addWorker(env: Record<string, string> = {}): Promise<WorkerProcess> {
    const worker = await this.fleet.worker({
      RANKFLEET_MODEL: `${MODEL}=${this.#folder}`,
      LOG_LEVEL: "silent",
      ...env,
    });
    this.workers.push(worker);
    return worker;
  }

  /** Kills a worker as the kernel would, and forgets it. */
  async kill(worker: WorkerProcess): Promise<void> {
    this.forget(worker);
    worker.child.kill("SIGKILL");
    await worker.ended;
  }

  forget(worker: WorkerProcess): void {
    const index = this.workers.indexOf(worker);
    if (index >= 0) this.workers.splice(index, 1);
  }

  async stop(): Promise<void> {
    await this.fleet.stop();
  }
}

/** Requests that all differ. */
export function requestsOf(
  count: number,
  documents: number,
  more: Partial<RerankRequest> = {},
): RerankRequest[] {
  return Array.from({ length: count }, (_, i) => ({
    query: `question ${i}: what belongs where`,
    documents: Array.from(
      { length: documents },
      (_document, j) => `${i * documents + j} ${short(passages[(i * 31 + j) % passages.length]!)}`,
    ),
    model: MODEL,
    ...more,
  }));
}

/**
 * The same, and between them jobs of other kinds: each fifth's texts lie beside the job, and each twentieth is cut
 * into parts.
 */
export function mixedRequestsOf(
  count: number,
  documents: number,
  more: Partial<RerankRequest> = {},
): RerankRequest[] {
  return requestsOf(count, documents, more).map((request, i) => {
    if (i % 20 === 7) return { ...requestsOf(1, PARTED, more)[0]!, query: request.query };
    if (i % 5 !== 3) return request;
    const texts = request.documents as readonly string[];
    return { ...request, documents: texts.map((text) => `${text} `.repeat(6)) };
  });
}

/** More documents than a job of one piece has. */
const PARTED = 300;

export function pairsOf(requests: readonly RerankRequest[]): number {
  return requests.reduce((sum, { documents }) => sum + documents.length, 0);
}

function short(text: string): string {
  return text.split(" ", 24).join(" ");
}

/** What an undisturbed process makes of the requests. */
export async function undisturbed(requests: readonly RerankRequest[]): Promise<Logits[]> {
  const reranker = await Reranker.load(await modelFolder(), { threads: 2 });
  try {
    const expected: Logits[] = [];
    for (let from = 0; from < requests.length; from += 50) {
      const scored = await Promise.all(
        requests
          .slice(from, from + 50)
          .map(({ query, documents }) =>
            reranker.score({ texts: { query, documents: documents as string[] } }),
          ),
      );
      for (const { documents } of scored) {
        expected.push(documents.map((each) => (each.state === "scored" ? each.logit : null)));
      }
    }
    return expected;
  } finally {
    await reranker.close();
  }
}
