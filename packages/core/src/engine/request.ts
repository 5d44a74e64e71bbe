import { gunzipSync } from "node:zlib";
import { CoreError } from "../errors.ts";
import type { LengthPolicy } from "../tokenize/pairs.ts";

/** A query and the documents to score against it, all as plain text. */
export interface Texts {
  readonly query: string;
  readonly documents: readonly string[];
}

/**
 * {@link Texts} as JSON, `{"query": …, "documents": […]}`, optionally gzipped: a caller that got them
 * as bytes hands them on as bytes, and a thread does the parsing. Bytes are moved, not copied: their
 * buffer is empty afterwards.
 */
export interface SerializedTexts {
  readonly json: Uint8Array<ArrayBuffer> | string;
  readonly isGzip?: boolean;
}

export interface ScoreRequest extends LengthPolicy {
  readonly texts: Texts | SerializedTexts;
  /** Have the texts handed back, for a caller that sent bytes. Default false. */
  readonly returnTexts?: boolean;
  /**
   * What the first stage gave the documents, in order. A model that has learnt to use it
   * (`facts.firstStageWeight`) then gives fused logits as well.
   */
  readonly firstStageScores?: readonly number[] | undefined;
}

/** A gzipped claim check of a few kilobytes may unpack to gigabytes; more than this is refused. */
export const MAX_TEXT_BYTES: number = 256 * 1024 * 1024;

/** @throws CoreError `invalid_input` naming the field, for anything that is not {@link Texts}. */
export function readTexts(texts: Texts | SerializedTexts): Texts {
  const value: unknown = "json" in texts ? parse(texts) : texts;
  if (typeof value !== "object" || value === null) throw wrong("request", "an object", value);
  const { query, documents } = value as { query?: unknown; documents?: unknown };
  if (typeof query !== "string" || query === "") throw wrong("query", "a non-empty string", query);
  if (!Array.isArray(documents) || documents.length === 0) {
    throw wrong("documents", "a non-empty array of strings", documents);
  }
  const odd = documents.findIndex((document) => typeof document !== "string");
  if (odd >= 0) throw wrong(`documents[${odd}]`, "a string", documents[odd]);
  return { query, documents: documents as string[] };
}

function parse({ json, isGzip }: SerializedTexts): unknown {
  try {
    if (!isGzip) return JSON.parse(typeof json === "string" ? json : Buffer.from(json).toString());
    return JSON.parse(gunzipSync(json, { maxOutputLength: MAX_TEXT_BYTES }).toString());
  } catch (cause) {
    throw new CoreError(
      "invalid_input",
      `the payload is not ${isGzip ? "gzipped " : ""}JSON: ${cause instanceof Error ? cause.message : String(cause)}`,
      { field: "payload", cause },
    );
  }
}

function wrong(field: string, expected: string, value: unknown): CoreError {
  const got = Array.isArray(value)
    ? "an array"
    : value === null
      ? "null"
      : `a value of type ${typeof value}`;
  const what =
    value === ""
      ? "an empty string"
      : Array.isArray(value) && value.length === 0
        ? "an empty array"
        : got;
  return new CoreError("invalid_input", `${field} must be ${expected}, got ${what}`, { field });
}
