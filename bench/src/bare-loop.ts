import { isMainThread, parentPort, Worker, workerData } from "node:worker_threads";
import { openBackend, openModel, openModelFolder, type EncodedPairs } from "@rankfleet/core";
import type { Request } from "./workload.ts";

/**
 * The limit: the same pairs, tokenised beforehand and perfectly sorted by length, through a bare loop
 * over ONNX Runtime, with one single-threaded session in each thread. No queue, nothing to wait for.
 */
export class BareLoop {
  readonly #threads: Worker[];

  private constructor(threads: Worker[]) {
    this.#threads = threads;
  }

  static async start(
    folder: string,
    requests: readonly Request[],
    threads: number,
  ): Promise<BareLoop> {
    const workers = Array.from({ length: threads }, (_, part) => {
      const share = requests.filter((_request, index) => index % threads === part);
      return new Worker(new URL(import.meta.url), { workerData: { folder, requests: share } });
    });
    await Promise.all(workers.map((worker) => answer(worker)));
    return new BareLoop(workers);
  }

  /** Seconds until the last thread has scored its share. */
  async run(): Promise<number> {
    const start = performance.now();
    const done = this.#threads.map((worker) => answer(worker));
    for (const worker of this.#threads) worker.postMessage("run");
    await Promise.all(done);
    return (performance.now() - start) / 1000;
  }

  async stop(): Promise<void> {
    const exited = this.#threads.map(
      (worker) => new Promise((resolve) => worker.once("exit", resolve)),
    );
    for (const worker of this.#threads) worker.postMessage("stop");
    await Promise.all(exited);
  }
}

/** Smallest batch that keeps a CPU busy; larger ones only add padding. */
const BATCH_TOKENS = 2048;

function answer(worker: Worker): Promise<unknown> {
  return new Promise((resolve, reject) => {
    worker.once("message", resolve);
    worker.once("error", reject);
  });
}

async function serve(folder: string, requests: readonly Request[]): Promise<void> {
  const opened = await openModelFolder(folder);
  const model = openModel(opened);
  const session = await openBackend(opened.weights, { device: "cpu", intraOpThreads: 1 });
  const batches = sortedBatches(
    requests.map((request) => model.encode(request.query, request.documents, {}).pairs),
  );
  parentPort!.on("message", async (message: "run" | "stop") => {
    if (message === "stop") {
      await session.close();
      parentPort!.close();
      return;
    }
    for (const batch of batches) await session.run(model.inputs(batch, session.facts.inputs));
    parentPort!.postMessage("done");
  });
  parentPort!.postMessage("ready");
}

function sortedBatches(encoded: readonly EncodedPairs[]): EncodedPairs[] {
  const rows = encoded.flatMap(({ ids, offsets, secondStarts }) =>
    Array.from(secondStarts, (second, row) => ({
      ids: ids.subarray(offsets[row], offsets[row + 1]),
      second,
    })),
  );
  rows.sort((a, b) => a.ids.length - b.ids.length);
  const batches: (typeof rows)[] = [];
  let current: typeof rows = [];
  for (const row of rows) {
    if (current.length > 0 && (current.length + 1) * row.ids.length > BATCH_TOKENS) {
      batches.push(current);
      current = [];
    }
    current.push(row);
  }
  return [...batches, current].map((batch) => {
    const offsets = new Int32Array(batch.length + 1);
    batch.forEach((row, index) => (offsets[index + 1] = offsets[index]! + row.ids.length));
    const ids = new Int32Array(offsets.at(-1)!);
    batch.forEach((row, index) => ids.set(row.ids, offsets[index]));
    return { ids, offsets, secondStarts: Int32Array.from(batch, (row) => row.second) };
  });
}

if (!isMainThread) {
  const { folder, requests } = workerData as { folder: string; requests: Request[] };
  await serve(folder, requests);
}
