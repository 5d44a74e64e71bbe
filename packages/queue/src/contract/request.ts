import { z } from "zod";
import { firstStageScoresOf, idsOf, readText } from "./documents.ts";
import { InvalidRequestError, type RequestIssue } from "./errors.ts";

/**
 * How urgent a job is. `interactive` jobs have a queue of their own and go before all others. Of the rest a tenant's
 * `standard` jobs weigh eight times a tenant's `bulk` jobs, which are slow then but never starve.
 */
export type Lane = "interactive" | "standard" | "bulk";
export const LANES: readonly Lane[] = ["interactive", "standard", "bulk"];

/** One model of a cascade, and how many of its best documents go on to the next. */
export interface Stage {
  readonly model: string;
  /** At least 1; required in every stage but the last. */
  readonly keep?: number | undefined;
}

/** A document: its text, or an object that holds it. */
export type DocumentInput =
  | string
  | {
      /** The caller's own name for it, at most 512 characters, returned with the result. */
      readonly id?: string | undefined;
      /** Required, unless the request names other `fields`. */
      readonly text?: string | undefined;
      /** The finite score that a first stage (BM25, dense …) gave it; all documents of a request have one, or none. */
      readonly firstStageScore?: number | undefined;
      /** Any other field, for the request's `fields` to choose from. */
      // oxlint-disable-next-line typescript/no-explicit-any -- with `unknown`, TypeScript takes no `interface` for this.
      readonly [field: string]: any;
    };

/** A query and the documents to order by relevance to it. */
export interface RerankRequest {
  /** Not empty, at most 100,000 characters. */
  readonly query: string;
  /**
   * 1 to 10,000 candidates, of 64 Mi characters (2^26) in all. More than 100 are allowed, with a warning: see
   * docs/sdk.md#depth.
   */
  readonly documents: readonly DocumentInput[];
  /** The name of the model that scores. Default: the client's `model`. */
  readonly model?: string | undefined;
  /**
   * A cascade of 2 to 4 different models, instead of `model`: a cheap model scores all documents and keeps its best,
   * the next one scores those, as one durable job. The result has the last model's scores of what reached it.
   */
  readonly stages?: readonly Stage[] | undefined;
  /** How many results to return, best first. Default: all. */
  readonly topN?: number | undefined;
  /** Return the documents' texts too. Default false. */
  readonly returnDocuments?: boolean | undefined;
  /** Text of an object document: these fields, joined by newlines, instead of `text`. */
  readonly fields?: readonly string[] | undefined;
  /** Cuts each document to so many tokens before anything else. Default: the model's limit. */
  readonly maxTokensPerDocument?: number | undefined;
  /**
   * For a document that is too long for the model: `truncate` (default), `split` (at most 256 pieces, the best one's
   * score counts) or `refuse` (it fails with `document_too_long`).
   */
  readonly longDocuments?: "truncate" | "split" | "refuse" | undefined;
  /** Which text is cut: the longer one (`longest_first`, default) or the document alone (`only_second`). */
  readonly truncation?: "longest_first" | "only_second" | undefined;
  /** `score` is the logit, without the model's activation. Default false. */
  readonly rawScores?: boolean | undefined;
  /**
   * At most 512 characters. Within a tenant and a model (or cascade) the same key means the same job: a repeat gets the
   * first one's result. The same key for another request is an `idempotency_conflict`.
   */
  readonly idempotencyKey?: string | undefined;
  /** The lane. Default `standard`; `rerankMany` takes `bulk`. */
  readonly priority?: Lane | undefined;
  /**
   * The one revision of the model that may score it, as results name it (`"8db9170d214a"`): the job waits until a
   * worker of that revision takes it. Not with `stages`.
   */
  readonly revision?: string | undefined;
  /**
   * Whose job it is, at most 128 characters: within a lane tenants share the fleet by weight, and have limits of their
   * own.
   */
  readonly tenant?: string | undefined;
  /** When the job, if it is not scored, ends with `deadline_exceeded`. A number is milliseconds since 1970. */
  readonly deadline?: Date | number | undefined;
  /** Returned with the result. At most 16 entries, texts of at most 1,024 characters. */
  readonly metadata?: Readonly<Record<string, string | number | boolean | null>> | undefined;
}

export const MAX_DOCUMENTS = 10_000;
export const MAX_QUERY_CHARACTERS = 100_000;
export const MAX_TEXT_CHARACTERS: number = 64 * 1024 * 1024;

/** Model ids as on the Hugging Face hub: `box`, `BAAI/bge-reranker-v2-m3`. */
const modelId = z
  .string()
  .regex(/^\w[\w.-]*(?:\/\w[\w.-]*)*$/u, "must be letters, digits, '.', '_', '-' and '/'")
  .max(128);

/** Whether a string can be a model's id. */
export function isModelId(id: string): boolean {
  return modelId.safeParse(id).success;
}

const wellFormed = (text: string): boolean => text.isWellFormed();

const NO_DEADLINE = "must be a Date or milliseconds since 1970";

/** A schema for each field, run only if the request has it: a third of the time that one schema for the whole takes. */
const FIELDS = {
  query: z
    .string()
    .max(MAX_QUERY_CHARACTERS)
    .refine((query) => query.trim() !== "", "must not be empty")
    .refine(wellFormed, "has a lone surrogate; use query.toWellFormed()"),
  // Each is read by itself, below: what is wrong with one is not the others' fault.
  documents: z
    .custom<RerankRequest["documents"]>(Array.isArray, {
      error: "must be a list of documents",
      abort: true,
    })
    .refine((documents) => documents.length >= 1, "must have at least one document")
    .refine(
      (documents) => documents.length <= MAX_DOCUMENTS,
      `must be at most ${MAX_DOCUMENTS}; send several requests`,
    ),
  model: modelId.optional(),
  stages: z
    .array(z.strictObject({ model: modelId, keep: z.int().min(1).optional() }))
    .min(2, "must have at least two stages; for one, use model")
    .max(4)
    .optional(),
  topN: z.int().min(1).optional(),
  returnDocuments: z.boolean().optional(),
  fields: z.array(z.string().min(1)).min(1).optional(),
  maxTokensPerDocument: z.int().min(1).optional(),
  longDocuments: z.enum(["truncate", "split", "refuse"]).optional(),
  truncation: z.enum(["longest_first", "only_second"]).optional(),
  rawScores: z.boolean().optional(),
  idempotencyKey: z.string().min(1).max(512).optional(),
  priority: z.enum(["interactive", "standard", "bulk"]).optional(),
  revision: z
    .string()
    .regex(/^[0-9a-f]{12}$/u, "must be the 12 hexadecimal digits of a revision")
    .optional(),
  tenant: z.string().min(1).max(128).optional(),
  deadline: z
    .union([z.date(), z.number()], { error: NO_DEADLINE })
    .refine((deadline) => Number.isFinite(Number(deadline)), NO_DEADLINE)
    .optional(),
  metadata: z
    .record(
      z.string(),
      z.union([z.string().max(1024), z.number(), z.boolean(), z.null()], {
        error: "must be text of at most 1,024 characters, a number, a boolean or null",
      }),
    )
    .refine((metadata) => Object.keys(metadata).length <= 16, "must have at most 16 entries")
    .optional(),
} satisfies { readonly [Field in keyof RerankRequest]-?: z.ZodType<RerankRequest[Field]> };

/**
 * Checks a request and turns its documents into texts.
 *
 * A document without readable text, whatever it is, is kept as an empty one: the worker marks it as failed, and the
 * others are scored. Only a request in which no document is readable is refused here.
 *
 * @throws InvalidRequestError with every issue, each naming its field.
 */
export function parseRequest(request: unknown): ParsedRequest {
  const { query, documents, fields, ...options } = readFields(request);
  const issues = stageIssues(options);
  const unreadable = new Map<number, RequestIssue>();
  // An array may have holes, which `map` would pass over.
  const texts = Array.from(documents, (document, index) => {
    const read = readText(document, fields);
    if (typeof read === "string") return read;
    unreadable.set(index, { field: `documents[${index}]${read.at}`, message: read.message });
    return read.text ?? "";
  });
  const firstStageScores = firstStageScoresOf(documents, unreadable, issues);
  const ids = idsOf(documents, issues);
  if (issues.length > 0) throw new InvalidRequestError(issues);
  if (unreadable.size === texts.length) throw new InvalidRequestError([...unreadable.values()]);
  const characters = texts.reduce((sum, text) => sum + text.length, 0);
  if (characters > MAX_TEXT_CHARACTERS) {
    const message = `hold ${characters} characters; a request may hold ${MAX_TEXT_CHARACTERS}: send fewer at a time`;
    throw new InvalidRequestError([{ field: "documents", message }]);
  }
  return {
    query,
    options,
    texts,
    characters,
    ids,
    firstStageScores,
  };
}

/** A request whose documents have become texts. */
export interface ParsedRequest {
  readonly query: string;
  readonly options: RequestOptions;
  readonly texts: readonly string[];
  /** Of all documents. */
  readonly characters: number;
  /** The documents' own ids, if any of them has one. */
  readonly ids: readonly (string | null)[] | undefined;
  /** One for each document, if the request carries them. */
  readonly firstStageScores: readonly number[] | undefined;
}

/** A request without its texts. */
export type RequestOptions = {
  readonly [K in keyof Omit<RerankRequest, "query" | "documents" | "fields">]:
    | RerankRequest[K]
    | undefined;
};

/** A copy, which later changes of the caller's do not reach; only `documents` are not copied, but read at once. */
function readFields(request: unknown): RerankRequest {
  if (typeof request !== "object" || request === null || Array.isArray(request)) {
    const message = "must be an object with query and documents";
    throw new InvalidRequestError([{ field: "request", message }]);
  }
  const issues: RequestIssue[] = [];
  const read: Record<string, unknown> = {};
  for (const [field, value] of Object.entries({
    query: undefined,
    documents: undefined,
    ...request,
  })) {
    if (!Object.hasOwn(FIELDS, field)) {
      issues.push({ field, message: "is not a field of a request" });
      continue;
    }
    const { data, error } = FIELDS[field as keyof RerankRequest].safeParse(value);
    if (error === undefined) read[field] = data;
    else issues.push(...error.issues.flatMap((issue) => toIssues(field, issue)));
  }
  if (issues.length > 0) throw new InvalidRequestError(issues);
  return read as unknown as RerankRequest;
}

function stageIssues({ model, revision, stages = [] }: RequestOptions): RequestIssue[] {
  const issues: RequestIssue[] = [];
  if (revision !== undefined && stages.length > 0) {
    issues.push({ field: "revision", message: "is of one model; a cascade has several" });
  }
  if (model !== undefined && stages.length > 0) {
    issues.push({ field: "model", message: "is said by stages; leave one of the two out" });
  }
  for (const [index, { model: name, keep }] of stages.entries()) {
    const isLast = index === stages.length - 1;
    if (keep === undefined && !isLast) {
      issues.push({ field: `stages[${index}].keep`, message: "must say how many documents go on" });
    }
    if (stages.findIndex((stage) => stage.model === name) !== index) {
      issues.push({ field: `stages[${index}].model`, message: `"${name}" has a stage already` });
    }
  }
  return issues;
}

function toIssues(field: string, issue: z.core.$ZodIssue): RequestIssue[] {
  const path = [field, ...issue.path];
  if (issue.code === "unrecognized_keys") {
    return issue.keys.map((key) => ({
      field: fieldPath([...path, key]),
      message: "is not a field of a request",
    }));
  }
  return [{ field: fieldPath(path), message: issue.message }];
}

/** `["documents", 3, "text"]` → `documents[3].text`. */
function fieldPath(path: readonly PropertyKey[]): string {
  const joined = path
    .map((part) => (typeof part === "number" ? `[${part}]` : `.${String(part)}`))
    .join("");
  return joined.replace(/^\./u, "") || "request";
}
