import type { RequestIssue } from "./errors.ts";

export function firstStageScoresOf(
  documents: readonly unknown[],
  unreadable: ReadonlyMap<number, unknown>,
  issues: RequestIssue[],
): number[] | undefined {
  const scores = documents.map((document) => fieldOf(document, "firstStageScore") ?? undefined);
  const known = scores.find((score) => score !== undefined);
  if (known === undefined) return undefined;
  for (const [index, score] of scores.entries()) {
    if (Number.isFinite(score)) continue;
    if (unreadable.has(index) && Number.isFinite(known)) {
      scores[index] = known; // It fails in any case; a request without holes is simpler for all.
      continue;
    }
    const message =
      score === undefined
        ? "is missing, while other documents have one: give all of them, or none"
        : "must be a finite number";
    issues.push({ field: `documents[${index}].firstStageScore`, message });
    return undefined;
  }
  return scores as number[];
}

export function idsOf(
  documents: readonly unknown[],
  issues: RequestIssue[],
): (string | null)[] | undefined {
  let hasOne = false;
  const ids = documents.map((document, index) => {
    const id = fieldOf(document, "id") ?? null;
    if (id === null) return null;
    hasOne = true;
    if (typeof id === "string" && id.length <= 512) return id;
    issues.push({
      field: `documents[${index}].id`,
      message: "must be a string of at most 512 characters",
    });
    return null;
  });
  return hasOne ? ids : undefined;
}

function fieldOf(document: unknown, field: string): unknown {
  return typeof document === "object" && document !== null
    ? (document as Readonly<Record<string, unknown>>)[field]
    : undefined;
}

/** What is wrong with a document: where in it, and the text for the worker to fail on, if it has any. */
interface Unreadable {
  readonly at: string;
  readonly message: string;
  readonly text?: string;
}

/** The text of a document, or why it has none that a model could read. */
export function readText(
  document: unknown,
  fields: readonly string[] | undefined,
): string | Unreadable {
  if (typeof document === "string") return readable(document);
  if (typeof document !== "object" || document === null || Array.isArray(document)) {
    return { at: "", message: "must be a string or an object with text" };
  }
  const present: string[] = [];
  for (const field of fields ?? ["text"]) {
    const value = fieldOf(document, field);
    if (value === undefined || value === null) continue;
    const isFit =
      typeof value === "string" ||
      (fields !== undefined && (typeof value === "number" || typeof value === "boolean"));
    if (!isFit) {
      const message =
        fields === undefined ? "must be a string" : "must be text, a number or a boolean";
      return { at: `.${field}`, message };
    }
    present.push(String(value));
  }
  if (present.length > 0) return readable(present.join("\n"));
  return fields === undefined
    ? { at: ".text", message: "must have text" }
    : { at: "", message: `has none of the fields ${fields.join(", ")}` };
}

function readable(text: string): string | Unreadable {
  if (text.trim() === "") return { at: "", message: "must not be empty", text };
  if (text.isWellFormed()) return text;
  return { at: "", message: "has a lone surrogate; use text.toWellFormed()", text };
}
