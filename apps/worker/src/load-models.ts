import { Reranker, type BatchReport } from "@rankfleet/core";
import {
  agreeOnReference,
  PoisonList,
  PoisonStore,
  RedisScoreCache,
  withOwnReference,
  type ModelOffer,
  type ModelRegistry,
  type RedisClock,
} from "@rankfleet/queue";
import type { Keys } from "@rankfleet/queue/contract";
import type { Log, Metrics } from "@rankfleet/service";
import type { Redis } from "ioredis";
import { boxFolder } from "./box.ts";
import { hitRatio, knownScores } from "./known-scores.ts";
import { calibrationFolder, type ModelSpec, type WorkerSettings } from "./settings.ts";
import { traceBatch } from "./spans.ts";

interface LoadContext {
  readonly redis: Redis;
  readonly keys: Keys;
  readonly clock: RedisClock;
  readonly metrics: Metrics;
  readonly log: Log;
}

export interface LoadedModel {
  readonly reranker: Reranker;
  /** Pairs that this revision is not to try again. */
  readonly poison: PoisonList;
}

/**
 * Loads the settings' models one after the other into `loaded`, by name.
 *
 * @throws CoreError; what was loaded before is in `loaded`, for the caller to close.
 */
export async function loadModels(
  settings: WorkerSettings,
  context: LoadContext,
  loaded: Map<string, LoadedModel>,
): Promise<void> {
  for (const spec of settings.model) {
    const model = await load(spec, settings, context);
    loaded.set(spec.id, model);
    await model.poison.ready;
  }
}

async function load(
  spec: ModelSpec,
  settings: WorkerSettings,
  { redis, keys, clock, metrics, log }: LoadContext,
): Promise<LoadedModel> {
  const start = performance.now();
  const model = spec.id;
  const folder = spec.folder ?? boxFolder();
  const { scoreCachePairs: maxPairs, scoreCacheTtlMs: ttlMs } = settings;
  let poison: PoisonList;
  const reranker = await Reranker.load(folder, {
    device: settings.device,
    deviceOptions: settings.deviceOptions,
    dtype: settings.dtype,
    threads: settings.threads,
    maxTokens: settings.maxTokens,
    maxBatchTokens: settings.maxBatchTokens,
    calibrationFolder: calibrationFolder(settings.cacheFolder),
    cache: ({ revision }) => {
      poison = new PoisonList(new PoisonStore(redis, keys), { model, revision });
      if (maxPairs === 0) return knownScores(undefined, poison);
      const options = { model, revision, maxPairs, ttlMs, now: () => clock.now() };
      const scores = new RedisScoreCache(redis, keys, options);
      observeHits(metrics, model, scores);
      return knownScores(scores, poison);
    },
    // Not before the scores are on their way: somebody waits for those.
    onBatch: (report) => void setImmediate(() => countBatch(metrics, model, report)),
  });
  const { facts, devices, calibration } = reranker;
  log.info(
    {
      model,
      folder,
      ...facts,
      device: devices[0]?.name,
      runtime: devices[0]?.runtime,
      threads: settings.threads,
      sessions: devices.length,
      maxBatchTokens: reranker.maxBatchTokens,
      calibratedAt: calibration?.measuredAt,
      loadMs: Math.round(performance.now() - start),
    },
    "model loaded",
  );
  if (!facts.batchInvariant) {
    log.warn(
      { model, deviation: reranker.deviation, cached: maxPairs > 0 },
      reranker.deviatesBy === "shape"
        ? "this device rounds a pair's score by the shape of its batch, so repeats and cached scores differ by as much"
        : "a pair's score in this file depends on what shares its batch, so repeats and cached scores differ by as much; rankfleet models quantize makes a file without this",
    );
  }
  return { reranker, poison: poison! };
}

function observeHits(metrics: Metrics, model: string, scores: RedisScoreCache): void {
  const read = hitRatio(scores);
  metrics.scoreCacheHits.observe(() => {
    const value = read();
    return value === undefined ? [] : [{ value, labels: { model } }];
  });
}

/**
 * What to offer under each name. Whoever served a model first has recorded how it scores, and this worker
 * joins only if it scores likewise, or is to replace that.
 *
 * @throws RankfleetError `model_mismatch`.
 */
export async function agree(
  loaded: ReadonlyMap<string, LoadedModel>,
  registry: ModelRegistry,
  worker: { readonly id: string; readonly now: () => number },
  isReplacing: boolean,
): Promise<Map<string, ModelOffer>> {
  const offers = new Map<string, ModelOffer>();
  for (const [model, { reranker }] of loaded) {
    const { facts, reference } = reranker;
    const { revision, dtype, maxTokens } = facts;
    const offer = { model, revision, dtype, maxTokens, reference };
    const agreed = await registry.join(model, worker, (recorded) =>
      isReplacing
        ? withOwnReference(offer, worker.now())
        : agreeOnReference(offer, recorded, worker.now()),
    );
    offers.set(model, agreed);
  }
  return offers;
}

function countBatch(metrics: Metrics, model: string, report: BatchReport): void {
  metrics.batches.add(1, { model });
  metrics.pairs.add(report.rows, { model });
  metrics.tokens.add(report.realTokens, { model, kind: "real" });
  metrics.tokens.add(report.paddedTokens, { model, kind: "padded" });
  metrics.batchPairs.record(report.rows, { model });
  metrics.batchDuration.record(report.durationMs / 1000, { model, device: report.device });
  traceBatch(model, report);
}
