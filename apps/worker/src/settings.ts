import { homedir } from "node:os";
import { join } from "node:path";
import { isRedisUrl } from "@rankfleet/queue";
import { DEFAULT_PREFIX, isModelId, isPrefix } from "@rankfleet/queue/contract";
import {
  defineSettings,
  list,
  LOG_LEVELS,
  oneOf,
  port,
  text,
  wholeNumber,
  yesOrNo,
  type Setting,
  type SettingsOf,
} from "@rankfleet/service";
import { z } from "zod";

/** A model to serve: the name that jobs ask for, and its folder. */
export interface ModelSpec {
  readonly id: string;
  /** Absent for the model in the box. */
  readonly folder?: string;
}

function defaultCacheFolder(): string {
  return join(process.env["XDG_CACHE_HOME"] || join(homedir(), ".cache"), "rankfleet");
}

/** Where calibrations are kept. */
export function calibrationFolder(
  cacheFolder: string = process.env["RANKFLEET_CACHE_FOLDER"] || defaultCacheFolder(),
): string {
  return join(cacheFolder, "calibration");
}

const modelSpec: z.ZodType<ModelSpec> = z
  .string()
  .transform((spec): ModelSpec => {
    const equals = spec.indexOf("=");
    if (equals >= 0) return { id: spec.slice(0, equals), folder: spec.slice(equals + 1) };
    const id = spec;
    return id === "box"
      ? { id }
      : { id: id.split(/[\\/]/u).findLast((part) => part !== "") ?? "", folder: id };
  })
  .refine(({ id, folder }) => isModelId(id) && folder !== "")
  .describe("box, a model folder, or name=folder");

const device: z.ZodType<string> = z
  .string()
  .regex(/^(?:auto|cpu|cuda(?::\d+)?|tensorrt(?::\d+)?|webgpu|coreml|directml(?::\d+)?)$/u)
  .describe("auto, cpu, cuda, cuda:1, tensorrt, webgpu, coreml or directml");

const jsonObject: z.ZodType<Record<string, unknown>> = z
  .string()
  .transform((json, context): Record<string, unknown> => {
    try {
      return z.record(z.string(), z.unknown()).parse(JSON.parse(json));
    } catch {
      context.addIssue("is no JSON object");
      return z.NEVER;
    }
  })
  .describe("a JSON object");

/** Everything that can be set of a worker: docs/worker.md shows this table. */
export const workerSettings: {
  readonly model: Setting<z.ZodType<ModelSpec[]>>;
  readonly device: Setting<z.ZodType<string>>;
  readonly deviceOptions: Setting<z.ZodType<Record<string, unknown> | undefined>>;
  readonly dtype: Setting<z.ZodType<string | undefined>>;
  readonly threads: Setting<z.ZodType<number | undefined>>;
  readonly maxTokens: Setting<z.ZodType<number | undefined>>;
  readonly maxBatchTokens: Setting<z.ZodType<number | undefined>>;
  readonly scoreCachePairs: Setting<z.ZodType<number>>;
  readonly scoreCacheTtlMs: Setting<z.ZodType<number>>;
  readonly cacheFolder: Setting<z.ZodType<string>>;
  readonly replaceReference: Setting<z.ZodType<boolean>>;
  readonly redis: Setting<z.ZodType<string>>;
  readonly prefix: Setting<z.ZodType<string>>;
  readonly port: Setting<z.ZodType<number>>;
  readonly host: Setting<z.ZodType<string>>;
  readonly graceMs: Setting<z.ZodType<number>>;
  readonly watchdogMs: Setting<z.ZodType<number>>;
  readonly logLevel: Setting<z.ZodType<(typeof LOG_LEVELS)[number]>>;
} = defineSettings({
  model: {
    flag: "--model <name=folder>",
    env: "RANKFLEET_MODEL",
    many: true,
    parse: list(modelSpec)
      .refine((specs) => new Set(specs.map(({ id }) => id)).size === specs.length)
      .describe("box, a model folder, or name=folder; each name once"),
    default: [{ id: "box" }],
    defaultText: "box",
    help: "Model to serve; a folder alone goes by its own name.",
  },
  device: {
    flag: "--device <device>",
    env: "RANKFLEET_DEVICE",
    parse: device,
    default: "auto",
    help: "Where forward passes run; auto takes CUDA if it loads, else the CPU.",
  },
  deviceOptions: {
    flag: "--device-options <json>",
    env: "RANKFLEET_DEVICE_OPTIONS",
    parse: jsonObject.optional().describe("a JSON object"),
    defaultText: "none",
    help: "Options for ONNX Runtime's execution provider of the device, passed through.",
  },
  dtype: {
    flag: "--dtype <dtype>",
    env: "RANKFLEET_DTYPE",
    parse: text("fp32, fp16, int8, q8, q4 …").optional().describe("fp32, fp16, int8, q8, q4 …"),
    defaultText: "the first that the folder has",
    help: "Which of the folder's weights to load.",
  },
  threads: {
    flag: "--threads <number>",
    env: "RANKFLEET_THREADS",
    parse: wholeNumber({ min: 1, max: 1024 }).optional().describe("a whole number from 1 to 1024"),
    defaultText: "number of cores, or of the container's quota",
    help: "CPU threads for forward passes, at most one a core.",
  },
  maxTokens: {
    flag: "--max-tokens <number>",
    env: "RANKFLEET_MAX_TOKENS",
    parse: wholeNumber({ min: 16 }).optional().describe("a whole number of at least 16"),
    defaultText: "the model's own limit",
    help: "Longest pair in tokens: models that take 8,192 are slow at that length, and good at 1,024. A lower limit makes another revision.",
  },
  maxBatchTokens: {
    flag: "--max-batch-tokens <number>",
    env: "RANKFLEET_MAX_BATCH_TOKENS",
    parse: wholeNumber({ min: 16 }).optional().describe("a whole number of at least 16"),
    defaultText:
      "measured: enough for 90 % of a CPU's best speed, or twice a GPU's knee; about 25 ms of work if that is more",
    help: "Largest batch in tokens, padding included.",
  },
  scoreCachePairs: {
    flag: "--score-cache-pairs <number>",
    env: "RANKFLEET_SCORE_CACHE_PAIRS",
    parse: wholeNumber({ min: 0 }),
    default: 1_000_000,
    help: "Most scores of one model revision that Redis keeps, for pairs that come again (about 100 bytes each); 0: none.",
  },
  scoreCacheTtlMs: {
    flag: "--score-cache-ttl-ms <number>",
    env: "RANKFLEET_SCORE_CACHE_TTL_MS",
    parse: wholeNumber({ min: 1 }),
    default: 24 * 3600 * 1000,
    help: "How long scores are kept, in milliseconds.",
  },
  cacheFolder: {
    flag: "--cache-folder <folder>",
    env: "RANKFLEET_CACHE_FOLDER",
    parse: text("a folder"),
    default: defaultCacheFolder(),
    defaultText: "~/.cache/rankfleet",
    help: "Where calibrations are kept.",
  },
  replaceReference: {
    flag: "--replace-reference",
    env: "RANKFLEET_REPLACE_REFERENCE",
    parse: yesOrNo(),
    default: false,
    help: "Record this worker's scores as the model's reference, in place of those that stand: once, when a new revision takes over a name.",
  },
  redis: {
    flag: "--redis <url>",
    env: "REDIS_URL",
    parse: z
      .string()
      .refine(isRedisUrl)
      .describe("a URL: redis://…, rediss://…, redis-sentinel://…#master or redis-cluster://…"),
    default: "redis://127.0.0.1:6379",
    help: "Where the queues are.",
    secret: true,
  },
  prefix: {
    flag: "--prefix <text>",
    env: "RANKFLEET_PREFIX",
    parse: z.string().refine(isPrefix).describe("text without colons and braces"),
    default: DEFAULT_PREFIX,
    help: "What all keys in Redis begin with; must equal the clients' prefix.",
  },
  port: {
    flag: "--port <number>",
    env: "RANKFLEET_PORT",
    parse: port(),
    default: 0,
    help: "Port of /healthz, /readyz and /metrics; it is in the log at start.",
  },
  host: {
    flag: "--host <address>",
    env: "RANKFLEET_HOST",
    parse: text("an address of this machine"),
    default: "127.0.0.1",
    help: "Address of /healthz, /readyz and /metrics.",
  },
  graceMs: {
    flag: "--grace-ms <number>",
    env: "RANKFLEET_GRACE_MS",
    parse: wholeNumber({ min: 0 }),
    default: 10_000,
    help: "How long SIGTERM waits for the jobs in hand, in milliseconds.",
  },
  watchdogMs: {
    flag: "--watchdog-ms <number>",
    env: "RANKFLEET_WATCHDOG_MS",
    parse: wholeNumber({ min: 0 }),
    default: 60_000,
    help: "Exit when Redis is gone, a device does not answer, or the event loop is stuck for so long; 0: never.",
  },
  logLevel: {
    flag: "--log-level <level>",
    env: "LOG_LEVEL",
    parse: oneOf(LOG_LEVELS),
    default: "info",
    help: "Lowest level to log.",
  },
});

export type WorkerSettings = SettingsOf<typeof workerSettings>;
