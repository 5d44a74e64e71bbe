import { z } from "zod";
import { InvalidRequestError, type RequestIssue } from "./errors.ts";

/**
 * What is urgent. `interactive` jobs have a queue of their own and go before all others; while `standard` and `bulk` jobs
 * both wait, `standard` ones get eight ninths of the work, so that `bulk` ones are slow but never starve.
 */
export type Lane = "interactive" | "standard" | "bulk";
export const LANES: readonly Lane[] = ["interactive", "standard", "bulk"];

/** One model of a cascade, and how many of its best documents go on to the next. */
export interface Stage {
  readonly model: string;
  /** Every stage but the last must say. */
  readonly keep?: number | undefined;
}

/** A document: its text, or an object that holds it. */
export type DocumentInput =
  | string
  | {
      /** The caller's own name for it, handed back in the result. */
      readonly id?: string;
      readonly text?: string;
      /** What the first stage (BM25, dense …) gave it; all documents of a request have one, or none. */
      readonly firstStageScore?: number;
      /** Any other field, for the request's `fields` to choose from. */
      readonly [field: string]: unknown;
    };

/** A query and the documents to order by relevance to it. */
export interface RerankRequest {
  readonly query: string;
  /** 1 to 10,000 candidates. More than 100 is allowed, and warned about once: see docs/sdk.md#depth. */
  readonly documents: readonly DocumentInput[];
  /** Which model scores. Default: the client's `model`. */
  readonly model?: string;
  /**
   * A cascade, instead of `model`: a cheap model scores all documents and keeps its best, the next one
   * scores those, as one durable job. The result has the last model's scores of what reached it.
   */
  readonly stages?: readonly Stage[];
  /** Results wanted, best first. Default: all. */
  readonly topN?: number;
  /** Hand the documents' texts back. Default false. */
  readonly returnDocuments?: boolean;
  /** Text of an object document: these fields, joined by newlines, instead of `text`. */
  readonly fields?: readonly string[];
  /** Cuts each document to so many tokens first. Default: the model's limit. */
  readonly maxTokensPerDocument?: number;
  /** `truncate` (default), `split` (the best part's score counts) or `refuse`. */
  readonly longDocuments?: "truncate" | "split" | "refuse";
  /** Which side is cut: `longest_first` (default) or `only_second`, the document. */
  readonly truncation?: "longest_first" | "only_second";
  /** `score` is the raw logit, not the activated one. Default false. */
  readonly rawScores?: boolean;
  /** The same key is the same job: a repeat returns the first one's result. */
  readonly idempotencyKey?: string;
  /** The lane. Default `standard`; `rerankMany` takes `bulk`. */
  readonly priority?: Lane;
  /**
   * The revision of the model that must score it, as results name it (`"8db9170d214a"`): no other does,
   * and the job waits until a worker of that revision takes it. Not with `stages`.
   */
  readonly revision?: string;
  /** Whose job it is: within a lane tenants share the fleet by weight, and have limits of their own. */
  readonly tenant?: string;
  /** After this moment nobody wants the result. */
  readonly deadline?: Date | number;
  /** Carried along and handed back in the result. At most 16 entries. */
  readonly metadata?: Readonly<Record<string, string | number | boolean | null>>;
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

const schema = z.strictObject({
  query: z
    .string()
    .max(MAX_QUERY_CHARACTERS)
    .refine((query) => query.trim() !== "", "must not be empty")
    .refine(wellFormed, "has a lone surrogate; use query.toWellFormed()"),
  documents: z
    .array(
      z.union([
        z.string(),
        z.looseObject({
          id: z.string().max(512).optional(),
          text: z.string().optional(),
          firstStageScore: z.number().optional(),
        }),
      ]),
    )
    .min(1, "must have at least one document")
    .max(MAX_DOCUMENTS),
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
    .union([z.date(), z.number()])
    .refine(
      (deadline) => Number.isFinite(Number(deadline)),
      "must be a Date or milliseconds since 1970",
    )
    .optional(),
  metadata: z
    .record(z.string(), z.union([z.string().max(1024), z.number(), z.boolean(), z.null()]))
    .refine((metadata) => Object.keys(metadata).length <= 16, "must have at most 16 entries")
    .optional(),
});

/**
 * Checks a request and turns its documents into texts.
 *
 * A document without readable text is kept: the worker marks that one as failed, and the others are
 * scored. Only a request in which no document is readable is refused here.
 *
 * @throws InvalidRequestError with every issue, each naming its field.
 */
export function parseRequest(request: unknown): ParsedRequest {
  const parsed = schema.safeParse(request);
  if (!parsed.success) throw new InvalidRequestError(parsed.error.issues.flatMap(toIssues));
  const { query, documents, fields, ...options } = parsed.data;
  const issues = stageIssues(parsed.data);
  const firstStageScores = firstStageScoresOf(documents, issues);
  const texts = documents.map((document, index) => textOf(document, index, fields, issues));
  if (issues.length > 0) throw new InvalidRequestError(issues);
  const characters = texts.reduce((sum, text) => sum + text.length, 0);
  if (characters > MAX_TEXT_CHARACTERS) {
    const message = `hold ${characters} characters; a request may hold ${MAX_TEXT_CHARACTERS}: send fewer at a time`;
    throw new InvalidRequestError([{ field: "documents", message }]);
  }
  const unreadable = texts.map((text, index) => unreadableIssue(text, index));
  const isAnyReadable = unreadable.some((issue) => issue === undefined);
  if (!isAnyReadable) throw new InvalidRequestError(unreadable.flatMap((issue) => issue ?? []));
  const ids = documents.map((document) =>
    typeof document === "string" ? null : (document.id ?? null),
  );
  return {
    query,
    options,
    texts,
    characters,
    ids: ids.some((id) => id !== null) ? ids : undefined,
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

function stageIssues({ model, revision, stages = [] }: z.infer<typeof schema>): RequestIssue[] {
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

function firstStageScoresOf(
  documents: readonly ReadableDocument[],
  issues: RequestIssue[],
): number[] | undefined {
  const scores = documents.map((document) =>
    typeof document === "string" ? undefined : document.firstStageScore,
  );
  if (scores.every((score) => score === undefined)) return undefined;
  const missing = scores.indexOf(undefined);
  if (missing < 0) return scores as number[];
  const message = "is missing, while other documents have one: give all of them, or none";
  issues.push({ field: `documents[${missing}].firstStageScore`, message });
  return undefined;
}

type ReadableDocument = z.infer<typeof schema>["documents"][number];

function textOf(
  document: ReadableDocument,
  index: number,
  fields: readonly string[] | undefined,
  issues: RequestIssue[],
): string {
  if (typeof document === "string") return document;
  const chosen = fields ?? ["text"];
  const values = chosen.map((field) => document[field]);
  const odd = values.findIndex(
    (value) => value !== undefined && value !== null && typeof value === "object",
  );
  if (odd >= 0) {
    issues.push({
      field: `documents[${index}].${chosen[odd]}`,
      message: "must be text, a number or a boolean",
    });
  }
  const present = values.filter((value) => value !== undefined && value !== null);
  if (present.length === 0) {
    const message =
      fields === undefined ? "must have text" : `has none of the fields ${fields.join(", ")}`;
    issues.push({
      field: fields === undefined ? `documents[${index}].text` : `documents[${index}]`,
      message,
    });
  }
  return present.map(String).join("\n");
}

function unreadableIssue(text: string, index: number): RequestIssue | undefined {
  const field = `documents[${index}]`;
  if (text.trim() === "") return { field, message: "must not be empty" };
  if (!text.isWellFormed())
    return { field, message: "has a lone surrogate; use text.toWellFormed()" };
  return undefined;
}

function toIssues(issue: z.core.$ZodIssue): RequestIssue[] {
  if (issue.code === "unrecognized_keys") {
    return issue.keys.map((key) => ({
      field: fieldPath([...issue.path, key]),
      message: "is not a field of a request",
    }));
  }
  // Of a union (a document: string or object) the branch that got furthest says what is wrong.
  if (issue.code === "invalid_union" && issue.errors.length > 0) {
    const deepest = issue.errors.flat().find((nested) => nested.path.length > 0);
    if (deepest !== undefined) {
      return toIssues({ ...deepest, path: [...issue.path, ...deepest.path] });
    }
    return [{ field: fieldPath(issue.path), message: "must be a string or an object with text" }];
  }
  return [{ field: fieldPath(issue.path), message: issue.message }];
}

/** `["documents", 3, "text"]` → `documents[3].text`. */
function fieldPath(path: readonly PropertyKey[]): string {
  const joined = path
    .map((part) => (typeof part === "number" ? `[${part}]` : `.${String(part)}`))
    .join("");
  return joined.replace(/^\./u, "") || "request";
}
