import { Backlog, connect, drainMs, JobQueues, ModelRegistry, RedisClock } from "@rankfleet/queue";
import { keysFor, type Keys } from "@rankfleet/queue/contract";
import type { Command } from "commander";
import { count, duration, table } from "../print.ts";
import { prefixOption, redisOption } from "../options.ts";

export function configureQueue(queue: Command): void {
  queue
    .command("stats")
    .description("Jobs, workers and backlog of each model, and of each tenant.")
    .addOption(redisOption())
    .addOption(prefixOption())
    .option("--json", "print JSON")
    .addHelpText("after", "\nExample:\n  rankfleet queue stats --redis redis://queue:6379")
    .action((flags: StatsFlags) => withRedis(flags, (redis, keys) => stats(redis, keys, flags)));
  queue
    .command("limits")
    .description(
      "How long the backlog may get, and what weight tenants have; without changes: show it.",
    )
    .argument("[changes...]", "name=value, or name=default")
    .addOption(redisOption())
    .addOption(prefixOption())
    .option("--model <id>", "model", "box")
    .option("--total", "of all models together: pairs and bytes (characters)")
    .option("--json", "print JSON")
    .addHelpText(
      "after",
      `
Names: ${NAMES}
(its share within a lane; default 1). They bind every producer from the next job on.

Examples:
  rankfleet queue limits
  rankfleet queue limits --model box pairs=2000000 tenantPairs=100000 weight/acme=4
  rankfleet queue limits --total bytes=8589934592
  rankfleet queue limits pairs=default`,
    )
    .action((texts: string[], flags: LimitsFlags, command: Command) => {
      const changes = texts.map((text) => parseChange(text, flags.total === true, command));
      return withRedis(flags, (redis, keys) => limits(redis, keys, changes, flags));
    });
  queue
    .command("forget")
    .description(
      "Take a model that nobody serves any more off the list, so that requests for it are refused.",
    )
    .argument("<model>")
    .addOption(redisOption())
    .addOption(prefixOption())
    .addHelpText("after", "\nExample:\n  rankfleet queue forget old-model")
    .action((model: string, flags: RedisFlags) =>
      withRedis(flags, (redis, keys) => forget(redis, keys, model)),
    );
}

type Connection = Awaited<ReturnType<typeof connect>>;

interface RedisFlags {
  readonly redis: string;
  readonly prefix: string;
}
interface StatsFlags extends RedisFlags {
  readonly json?: boolean;
}
interface LimitsFlags extends RedisFlags {
  readonly model: string;
  readonly total?: boolean;
  readonly json?: boolean;
}

async function withRedis(
  flags: RedisFlags,
  act: (redis: Connection, keys: Keys) => Promise<void>,
): Promise<void> {
  const redis = await connect(flags.redis, "producer");
  try {
    await act(redis, keysFor(flags.prefix));
  } finally {
    redis.disconnect();
  }
}

async function stats(redis: Connection, keys: Keys, { json }: StatsFlags): Promise<void> {
  const queues = new JobQueues(redis, keys);
  const clock = await RedisClock.start(redis);
  try {
    const models = await readStats(redis, keys, queues, clock);
    if (json) process.stdout.write(`${JSON.stringify({ models })}\n`);
    else process.stdout.write(`${models.length === 0 ? NO_MODEL : toTables(models)}\n`);
  } finally {
    clock.stop();
    await queues.close();
  }
}

const NO_MODEL = "no worker has offered a model here yet: start one with rankfleet worker";

type ModelStats = Awaited<ReturnType<typeof readStats>>[number];

async function readStats(redis: Connection, keys: Keys, queues: JobQueues, clock: RedisClock) {
  const registry = new ModelRegistry(redis, keys);
  const backlog = new Backlog(redis, keys);
  const offers = [...(await registry.offers()).values()];
  return Promise.all(
    offers.map(async ({ model, revision, dtype }) => {
      const [workers, counts, queued, rate, tenants] = await Promise.all([
        registry.liveWorkers(model, clock.now()),
        queues.counts(model),
        backlog.queued(model),
        registry.rate(model),
        backlog.byTenant(model),
      ]);
      const ms = drainMs(queued.bytes, rate);
      const etaMs = ms === undefined ? null : Math.round(ms);
      return {
        model,
        revision,
        dtype,
        workers,
        ...counts,
        backlog: { ...queued, etaMs },
        tenants: Object.fromEntries(tenants),
      };
    }),
  );
}

/** @throws Error `model_unknown`, or `model_in_use` while it has workers or jobs. */
async function forget(redis: Connection, keys: Keys, model: string): Promise<void> {
  const queues = new JobQueues(redis, keys);
  const clock = await RedisClock.start(redis);
  try {
    const found = (await readStats(redis, keys, queues, clock)).find(
      (each) => each.model === model,
    );
    if (found === undefined)
      throw problem("model_unknown", `no worker has offered "${model}" here`);
    const { workers, waiting, active, delayed, failed } = found;
    const jobs = waiting + active + delayed;
    if (workers > 0 || jobs > 0 || failed > 0) {
      const what = `workers: ${count(workers)}, jobs: ${count(jobs)}, dead letters: ${count(failed)}`;
      throw problem(
        "model_in_use",
        `"${model}" is in use (${what}): end, cancel or discard them first`,
      );
    }
    await new ModelRegistry(redis, keys).forget(model);
    process.stdout.write(`${model} is forgotten\n`);
  } finally {
    clock.stop();
    await queues.close();
  }
}

function problem(code: string, message: string): Error {
  return Object.assign(new Error(message), { code });
}

function toTables(models: readonly ModelStats[]): string {
  const head = [
    "model",
    "revision",
    "dtype",
    "workers",
    "waiting",
    "active",
    "delayed",
    "failed",
    "pairs queued",
    "done in",
  ];
  const rows = models.map((m) => [
    m.model,
    m.revision,
    m.dtype,
    m.workers,
    m.waiting,
    m.active,
    m.delayed,
    m.failed,
    m.backlog.pairs,
    m.backlog.etaMs === null ? "no worker" : duration(m.backlog.etaMs),
  ]);
  const tenants = models.flatMap(({ model, tenants: all }) =>
    Object.entries(all)
      .filter(([tenant]) => tenant !== "")
      .map(([tenant, size]) => [model, tenant, size.pairs, size.bytes]),
  );
  const ofTenants = table(["model", "tenant", "pairs queued", "characters"], tenants);
  return tenants.length === 0 ? table(head, rows) : `${table(head, rows)}\n\n${ofTenants}`;
}

async function limits(
  redis: Connection,
  keys: Keys,
  changes: readonly Change[],
  { model, total, json }: LimitsFlags,
): Promise<void> {
  const backlog = new Backlog(redis, keys);
  const of = total ? undefined : model;
  for (const { name, value } of changes) {
    await backlog.setLimit(of, name, value);
  }
  const now = await backlog.limits(of);
  if (json) process.stdout.write(`${JSON.stringify(now)}\n`);
  else {
    const rows = Object.entries(now).map(([name, value]) => [
      name,
      name.startsWith("weight/") ? String(value) : count(value),
    ]);
    process.stdout.write(`${table([of ?? "all models", "at most"], rows)}\n`);
  }
}

const OF_MODEL = /^(?:pairs|bytes|tenantPairs|tenantBytes|(?:pairs|bytes|weight)\/.+)$/u;
const NAMES =
  "pairs, bytes, tenantPairs, tenantBytes (of each tenant), and of one tenant pairs/NAME, bytes/NAME, weight/NAME";
const OF_ALL = /^(?:pairs|bytes)$/u;

interface Change {
  readonly name: string;
  /** undefined: the default again. */
  readonly value: number | undefined;
}

/** Ends the command with its help if it is none. */
function parseChange(text: string, isTotal: boolean, command: Command): Change {
  const [, name = "", value = ""] = /^([^=]+)=(.+)$/u.exec(text) ?? [];
  if (name === "") {
    return command.error(`error: "${text}": a change is name=value, or name=default`);
  }
  if (!(isTotal ? OF_ALL : OF_MODEL).test(name)) {
    const names = isTotal ? "pairs, bytes" : NAMES;
    return command.error(`error: "${text}": no such limit; there are ${names}`);
  }
  if (value === "default") return { name, value: undefined };
  const number = Number(value);
  // Beside an infinite weight nobody else would ever have a turn.
  const isFit = name.startsWith("weight/")
    ? number > 0 && Number.isFinite(number)
    : Number.isInteger(number) && number >= 0;
  if (!isFit) {
    const wanted = name.startsWith("weight/") ? "a number above 0" : "a whole number";
    return command.error(`error: "${text}": ${name} must be ${wanted}, or default`);
  }
  return { name, value: number };
}
