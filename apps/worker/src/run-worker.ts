import { randomUUID } from "node:crypto";
import { hostname } from "node:os";
import type { Reranker } from "@rankfleet/core";
import {
  Backlog,
  BacklogSweeper,
  connect,
  drainMs,
  HEARTBEAT_MS,
  ModelRegistry,
  RedisClock,
  type ModelOffer,
  type PoisonList,
  type WorkerSign,
} from "@rankfleet/queue";
import { keysFor, type Keys } from "@rankfleet/queue/contract";
import {
  createLog,
  createMetrics,
  createPrometheus,
  nameSetting,
  observeProcess,
  onShutdown,
  startHealthServer,
  startTelemetry,
  startWatchdog,
  watchEventLoop,
  type HealthServer,
  type Log,
  type Metrics,
} from "@rankfleet/service";
import { agree, loadModels, type LoadedModel } from "./load-models.ts";
import { CHARACTERS_PER_TOKEN } from "./intake.ts";
import { ModelWorker } from "./model-worker.ts";
import type { Redis } from "ioredis";
import { Solitude } from "./solitude.ts";
import { workerSettings, type WorkerSettings } from "./settings.ts";

/**
 * A worker process, from its settings to its end: listens, loads the models, serves their queues, and drains
 * on SIGTERM. A parent that started it with an IPC channel hears `{ ready: true, url }`, and takes it
 * along when it ends.
 *
 * @throws CoreError, RedisUnavailableError or ListenError if it cannot start.
 */
export async function runWorker(settings: WorkerSettings): Promise<void> {
  endWithParent();
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
  const loaded = new Map<string, LoadedModel>();
  const unload = async (): Promise<void> => {
    for (const { poison } of loaded.values()) poison.close();
    await Promise.all([...loaded.values()].map(({ reranker }) => reranker.close()));
  };
  let state: "starting" | "serving" | "draining" = "starting";
  let health: HealthServer | undefined;
  let offers: Map<string, ModelOffer>;
  const served: ServedModel[] = [];
  let notices: Redis | undefined;
  try {
    // Before a model is loaded or a job taken: a port that cannot be had ends the process here.
    health = await startHealthServer({
      port: settings.port,
      host: settings.host,
      setting: nameSetting(workerSettings.port),
      hostSetting: nameSetting(workerSettings.host),
      live: () => [],
      ready: () => [
        ...(state === "serving" ? [] : [state]),
        ...(redis.status === "ready" ? [] : [`Redis connection is ${redis.status}`]),
      ],
      metrics: () => prometheus.text(),
      log,
    });
    await loadModels(settings, { redis, keys, clock, metrics, log }, loaded);
    offers = await agree(
      loaded,
      registry,
      { id: workerId, now: () => clock.now() },
      settings.replaceReference,
    );
    // All that can fail comes before the first job is taken.
    notices = await listenForNotices(redis, keys, served);
    await Promise.all(
      [...loaded].map(([model, { reranker }]) =>
        registry.announce(offers.get(model)!, signOf(workerId, reranker), clock.now()),
      ),
    );
  } catch (error) {
    // Whoever waits for this process to end must not wait for its threads and connections.
    await unload();
    await health?.close();
    notices?.disconnect();
    clock.stop();
    eventLoop.close();
    redis.disconnect();
    await telemetry.shutdown();
    throw error;
  }
  const ofProcess = { redis, keys, clock, solitude: new Solitude(), log, metrics };
  for (const [model, { reranker, poison }] of loaded) {
    const options = {
      ...ofProcess,
      model,
      reranker,
      poison,
      onCrash: (err: Error) => die(log, err),
    };
    served.push(serve(options, { registry, offer: offers.get(model)!, workerId }));
  }
  observeModels(metrics, served);

  const watchdog =
    settings.watchdogMs === 0
      ? undefined
      : startWatchdog({
          patienceMs: settings.watchdogMs,
          troubles: () => [
            ...(redis.status === "ready" ? [] : ["no connection to Redis"]),
            ...served.flatMap(({ model, reranker }) =>
              reranker.isStuck ? [`a device of ${model} does not answer`] : [],
            ),
          ],
          onBite: (trouble) => die(log, new Error(`watchdog: ${trouble}`)),
        });

  state = "serving";
  log.info({ workerId, health: health.url, models: [...loaded.keys()] }, "ready");
  process.send?.({ ready: true, url: health.url });

  onShutdown(
    async ({ deadline }) => {
      state = "draining";
      deadline.addEventListener("abort", () => {
        for (const { worker } of served) worker.handBack();
      });
      await Promise.all(served.map((model) => model.close()));
      // By force, a long forward pass may still be under way: nobody waits for it.
      if (!deadline.aborted) await unload();
      watchdog?.close();
      notices?.disconnect();
      clock.stop();
      eventLoop.close();
      await health.close();
      await telemetry.shutdown();
      redis.disconnect();
    },
    // Handing back takes a moment of the grace too.
    { graceMs: Math.max(0, settings.graceMs - HAND_BACK_MS), log },
  );
}

/** A worker that a command has started goes with it, however the command ended: nobody else would end it. */
function endWithParent(): void {
  const end = (): void => void process.kill(process.pid, "SIGTERM");
  if (process.send !== undefined && !process.connected) return end();
  process.once("disconnect", end);
  // A start that fails ends by itself, not when the parent closes the channel.
  process.channel?.unref();
}

const HAND_BACK_MS = 500;

/** Courtesies that save work and workers: what they tell stands in Redis, and would be seen later. */
async function listenForNotices(
  redis: Redis,
  keys: Keys,
  served: readonly ServedModel[],
): Promise<Redis> {
  const subscriber = redis.duplicate();
  subscriber.on("error", () => {}); // The other connection reports.
  subscriber.on("message", (_channel: string, notice: string) => {
    const [kind, model, jobId = ""] = notice.split(" ");
    const concerned = served.find((each) => each.model === model);
    if (kind === "cancelled") concerned?.worker.cancel(jobId);
    else if (kind === "poison") concerned?.poison.refresh();
  });
  await subscriber.subscribe(keys.notices);
  return subscriber;
}

interface ServedModel {
  readonly model: string;
  readonly reranker: Reranker;
  readonly poison: PoisonList;
  readonly worker: ModelWorker;
  /** Of the whole fleet, when last looked at. */
  readonly backlog: { readonly pairs: number; readonly seconds: number };
  close(): Promise<void>;
}

const SWEEP_MS = 60_000;

/** What a worker tells of itself and a model. */
function signOf(
  id: string,
  { tokensPerMs }: Reranker,
  charactersPerToken: number = CHARACTERS_PER_TOKEN,
): WorkerSign {
  return { id, tokensPerSecond: Math.round(1000 * tokensPerMs), charactersPerToken };
}

/** Starts taking a model's jobs, and goes on telling the fleet that it is served here. */
function serve(
  options: ConstructorParameters<typeof ModelWorker>[0],
  { registry, offer, workerId }: { registry: ModelRegistry; offer: ModelOffer; workerId: string },
): ServedModel {
  const { model, reranker, clock, log } = options;
  const worker = new ModelWorker(options);
  const announce = (): Promise<void> =>
    registry.announce(offer, signOf(workerId, reranker, worker.charactersPerToken), clock.now());
  const sweeper = new BacklogSweeper(options.redis, options.keys);
  const sweep = setInterval(() => {
    sweeper.sweep(model).catch((err: unknown) => log.warn({ err, model }, "sweep failed"));
  }, SWEEP_MS);
  const queued = new Backlog(options.redis, options.keys);
  let backlog = { pairs: 0, seconds: 0 };
  const heartbeat = setInterval(() => {
    const beat = async (): Promise<void> => {
      await announce();
      const [size, rate] = await Promise.all([queued.queued(model), registry.rate(model)]);
      backlog = { pairs: size.pairs, seconds: (drainMs(size.bytes, rate) ?? 0) / 1000 };
    };
    beat().catch((err: unknown) => log.warn({ err, model }, "heartbeat failed"));
  }, HEARTBEAT_MS);
  return {
    model,
    reranker,
    poison: options.poison,
    worker,
    get backlog() {
      return backlog;
    },
    async close() {
      clearInterval(heartbeat);
      clearInterval(sweep);
      await worker.close();
      await registry.withdraw(model, workerId);
    },
  };
}

function observeModels(metrics: Metrics, served: readonly ServedModel[]): void {
  metrics.backlogPairs.observe(() =>
    served.map(({ model, backlog }) => ({ value: backlog.pairs, labels: { model } })),
  );
  metrics.backlogDuration.observe(() =>
    served.map(({ model, backlog }) => ({ value: backlog.seconds, labels: { model } })),
  );
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
  log.fatal({ err }, "this process can no longer work");
  process.exit(1);
}
