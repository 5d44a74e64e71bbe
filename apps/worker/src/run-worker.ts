import { randomUUID } from "node:crypto";
import { hostname } from "node:os";
import type { Reranker } from "@rankfleet/core";
import {
  connect,
  HEARTBEAT_MS,
  ModelRegistry,
  RedisClock,
  type ModelOffer,
} from "@rankfleet/queue";
import { keysFor } from "@rankfleet/queue/contract";
import {
  createLog,
  createMetrics,
  createPrometheus,
  nameSetting,
  observeProcess,
  onShutdown,
  startHealthServer,
  startTelemetry,
  watchEventLoop,
  type Log,
  type Metrics,
} from "@rankfleet/service";
import { agree, loadModels } from "./load-models.ts";
import { ModelWorker } from "./model-worker.ts";
import { workerSettings, type WorkerSettings } from "./settings.ts";

/**
 * A worker process, from its settings to its end: loads the models, serves their queues, and drains
 * on SIGTERM. A parent that started it with an IPC channel hears `{ ready: true, url }`, and takes it
 * along when it ends.
 *
 * @throws CoreError, RedisUnavailableError or ListenError if it cannot start.
 */
export async function runWorker(settings: WorkerSettings): Promise<void> {
  const log = createLog({
    name: "rankfleet-worker",
    level: settings.logLevel,
    pretty: process.stderr.isTTY,
  });
  const workerId = `${hostname()}:${process.pid}:${randomUUID().slice(0, 8)}`;
  const prometheus = createPrometheus();
  const telemetry = await startTelemetry({
    serviceName: "rankfleet-worker",
    version: "0.1.0",
    env: process.env,
    metricReader: prometheus.reader,
    log,
  });
  const metrics = createMetrics(telemetry.meter);
  const eventLoop = watchEventLoop();
  observeProcess(metrics, eventLoop);

  const redis = await connect(settings.redis, "consumer");
  const clock = await RedisClock.start(redis);
  const keys = keysFor(settings.prefix);
  const registry = new ModelRegistry(redis, keys);
  const rerankers = new Map<string, Reranker>();
  let offers: Map<string, ModelOffer>;
  try {
    await loadModels(settings, { redis, keys, metrics, log }, rerankers);
    offers = await agree(rerankers, registry, clock, settings.replaceReference);
  } catch (error) {
    // Whoever waits for this process to end must not wait for its threads and connections.
    await Promise.all([...rerankers.values()].map((reranker) => reranker.close()));
    clock.stop();
    eventLoop.close();
    redis.disconnect();
    await telemetry.shutdown();
    throw error;
  }
  const served = [...rerankers].map(([model, reranker]) =>
    serve(
      { model, reranker, redis, keys, clock, log, metrics, onCrash: (err) => die(log, err) },
      { registry, offer: offers.get(model)!, workerId },
    ),
  );
  observeModels(metrics, served);
  await Promise.all(served.map((model) => model.firstAnnouncement));

  let isDraining = false;
  const health = await startHealthServer({
    port: settings.port,
    host: settings.host,
    setting: nameSetting(workerSettings.port),
    live: () => [],
    ready: () => [
      ...(isDraining ? ["draining"] : []),
      ...(redis.status === "ready" ? [] : [`Redis connection is ${redis.status}`]),
    ],
    metrics: () => prometheus.text(),
    log,
  });
  log.info({ workerId, health: health.url, models: [...rerankers.keys()] }, "ready");
  process.send?.({ ready: true, url: health.url });

  onShutdown(
    async ({ deadline }) => {
      isDraining = true;
      const forced = new Promise<void>((resolve) =>
        deadline.addEventListener("abort", () => resolve()),
      );
      await Promise.race([Promise.all(served.map((model) => model.close())), forced]);
      if (deadline.aborted) await Promise.all(served.map((model) => model.worker.close(true)));
      else await Promise.all([...rerankers.values()].map((reranker) => reranker.close()));
      clock.stop();
      eventLoop.close();
      await health.close();
      await telemetry.shutdown();
      redis.disconnect();
    },
    { graceMs: settings.graceMs, log },
  );
  // Started by a parent that is gone: nobody else would end us.
  process.once("disconnect", () => process.kill(process.pid, "SIGTERM"));
}

interface ServedModel {
  readonly model: string;
  readonly reranker: Reranker;
  readonly worker: ModelWorker;
  readonly firstAnnouncement: Promise<void>;
  close(): Promise<void>;
}

/** Starts taking a model's jobs, and tells the fleet that it is served here. */
function serve(
  options: ConstructorParameters<typeof ModelWorker>[0],
  { registry, offer, workerId }: { registry: ModelRegistry; offer: ModelOffer; workerId: string },
): ServedModel {
  const { model, reranker, clock, log } = options;
  const announce = (): Promise<void> => registry.announce(offer, workerId, clock.now());
  const firstAnnouncement = announce();
  const heartbeat = setInterval(() => {
    announce().catch((err: unknown) => log.warn({ err, model }, "heartbeat failed"));
  }, HEARTBEAT_MS);
  const worker = new ModelWorker(options);
  return {
    model,
    reranker,
    worker,
    firstAnnouncement,
    async close() {
      clearInterval(heartbeat);
      await worker.close();
      await registry.withdraw(model, workerId);
    },
  };
}

function observeModels(metrics: Metrics, served: readonly ServedModel[]): void {
  metrics.pairsWaiting.observe(() =>
    served.map(({ model, reranker }) => ({ value: reranker.waitingPairs, labels: { model } })),
  );
  metrics.jobsInHand.observe(() =>
    served.map(({ model, worker }) => ({ value: worker.jobsInHand, labels: { model } })),
  );
  metrics.modelInfo.observe(() =>
    served.map(({ model, reranker: { facts, devices } }) => ({
      value: 1,
      labels: { model, revision: facts.revision, dtype: facts.dtype, device: devices[0]!.name },
    })),
  );
  const last = new Map<string, { atMs: number; busyMs: number }>();
  metrics.deviceBusy.observe(() =>
    served.flatMap(({ model, reranker }) =>
      reranker.devices.map(({ name, busyMs }, index) => {
        const device = `${name}#${index}`;
        const before = last.get(`${model}/${device}`) ?? { atMs: 0, busyMs: 0 };
        const atMs = performance.now();
        last.set(`${model}/${device}`, { atMs, busyMs });
        return {
          value: (busyMs - before.busyMs) / (atMs - before.atMs),
          labels: { model, device },
        };
      }),
    ),
  );
}

/** Crash-only: what is in hand is taken over by others within seconds, and a supervisor restarts us. */
function die(log: Log, err: Error): void {
  log.fatal({ err }, "an inference thread died");
  process.exit(1);
}
