import { isMainThread, parentPort, Worker, workerData } from "node:worker_threads";
import { openBackend, openModel, openModelFolder, type EncodedPairs } from "@rankfleet/core";
import { realOverPadded, type Policy, type PolicyPair } from "./policies.ts";
import type { Request } from "./workloads.ts";

/** What one pass over all pairs took. */
export interface BareRun {
  readonly seconds: number;
  readonly realOverPadded: number;
}

/**
 * The limit, and what rivals' policies are replayed on: pairs tokenised beforehand, batches made
 * beforehand, and a bare loop over ONNX Runtime with one session in each thread, single-threaded on the CPU. No queue,
 * nothing to wait for.
 */
export class BareLoop {
  readonly #threads: readonly Worker[];
  readonly #pairs: readonly PolicyPair[];

  private constructor(threads: readonly Worker[], pairs: readonly PolicyPair[]) {
    this.#threads = threads;
    this.#pairs = pairs;
  }

  static async start(
    model: { folder: string; dtype: string; device: string },
    requests: readonly Request[],
    threads: number,
  ): Promise<BareLoop> {
    const data: ThreadData = { ...model, requests };
    const workers = Array.from(
      { length: threads },
      () => new Worker(new URL(import.meta.url), { workerData: data }),
    );
    const [pairs] = (await Promise.all(workers.map(answer))) as PolicyPair[][];
    return new BareLoop(workers, pairs!);
  }

  /**
   * Seconds until the last thread has scored its share; batches are dealt out in turn.
   *
   * @param count Of the first pairs. Default: all.
   */
  async run(policy: Policy, count: number = this.#pairs.length): Promise<BareRun> {
    const pairs = this.#pairs.slice(0, count);
    const batches = policy(pairs);
    const start = performance.now();
    const done = this.#threads.map(answer);
    for (const [part, worker] of this.#threads.entries()) {
      worker.postMessage(batches.filter((_, index) => index % this.#threads.length === part));
    }
    await Promise.all(done);
    return {
      seconds: (performance.now() - start) / 1000,
      realOverPadded: realOverPadded(pairs, batches),
    };
  }

  async stop(): Promise<void> {
    await Promise.all(this.#threads.map((worker) => worker.terminate()));
  }
}

interface ThreadData {
  readonly folder: string;
  readonly dtype: string;
  readonly device: string;
  readonly requests: readonly Request[];
}

function answer(worker: Worker): Promise<unknown> {
  return new Promise((resolve, reject) => {
    const onError = (error: unknown): void => reject(error);
    worker.once("error", onError);
    worker.once("message", (message) => {
      worker.off("error", onError);
      resolve(message);
    });
  });
}

interface Row {
  readonly ids: Int32Array;
  readonly second: number;
}

async function serve({ folder, dtype, device, requests }: ThreadData): Promise<void> {
  const opened = await openModelFolder(folder, dtype);
  const model = openModel(opened);
  const session = await openBackend(opened.weights, { device, intraOpThreads: 1 });
  const rows: Row[] = [];
  const pairs: PolicyPair[] = [];
  for (const [request, { query, documents }] of requests.entries()) {
    const { ids, offsets, secondStarts } = model.encode(query, documents, {}).pairs;
    for (const [pair, second] of secondStarts.entries()) {
      const row = ids.subarray(offsets[pair], offsets[pair + 1]);
      rows.push({ ids: row, second });
      const characters = query.length + documents[pair]!.length;
      pairs.push({ tokens: row.length, characters, request });
    }
  }
  parentPort!.on("message", async (batches: number[][]) => {
    for (const batch of batches) {
      const packed = toBatch(batch.map((index) => rows[index]!));
      await session.run(model.inputs(packed, session.facts.inputs));
    }
    parentPort!.postMessage("done");
  });
  parentPort!.postMessage(pairs);
}

function toBatch(rows: readonly Row[]): EncodedPairs {
  const offsets = new Int32Array(rows.length + 1);
  rows.forEach((row, index) => (offsets[index + 1] = offsets[index]! + row.ids.length));
  const ids = new Int32Array(offsets.at(-1)!);
  rows.forEach((row, index) => ids.set(row.ids, offsets[index]));
  return { ids, offsets, secondStarts: Int32Array.from(rows, (row) => row.second) };
}

if (!isMainThread) await serve(workerData as ThreadData);
