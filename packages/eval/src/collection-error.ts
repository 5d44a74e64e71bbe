export type CollectionErrorCode = "file_missing" | "file_invalid";

/** A collection's folder cannot be used; says where to look. */
export class CollectionError extends Error {
  override readonly name: string = "CollectionError";
  readonly code: CollectionErrorCode;
  readonly file: string;
  /** From 1; absent if the file as a whole is at fault. */
  readonly line?: number;
  readonly field?: string;

  constructor(
    problem: string,
    at: { code: CollectionErrorCode; file: string; line?: number; field?: string; cause?: unknown },
  ) {
    const place = at.line === undefined ? at.file : `${at.file}:${at.line}`;
    super(`${place}: ${problem}`, { cause: at.cause });
    this.code = at.code;
    this.file = at.file;
    if (at.line !== undefined) this.line = at.line;
    if (at.field !== undefined) this.field = at.field;
  }
}
