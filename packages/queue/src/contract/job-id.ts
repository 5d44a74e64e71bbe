import { createHash, randomUUID } from "node:crypto";
import { JobNotFoundError } from "./errors.ts";
import { isModelId } from "./request.ts";

/**
 * A job's public id is `<job>@<model>`, or `<job>@<model>><model>` for a cascade, so it can be found
 * again from any process by the id alone.
 * The first part is the queue's own id: random, or made from the idempotency key, so that a repeat
 * meets the first job.
 */
export function newJobId(idempotency?: {
  readonly key: string;
  readonly tenant?: string | undefined;
  /** The model, or those of the cascade: the same key for another one is another job. */
  readonly models: readonly string[];
}): string {
  if (idempotency === undefined) return randomUUID().replaceAll("-", "");
  const { tenant = "", key, models } = idempotency;
  const whose = JSON.stringify([tenant, models, key]);
  // Not all digits, which BullMQ reserves for its own counter.
  return `k${createHash("sha256").update(whose).digest("hex").slice(0, 40)}`;
}

/** The id of a keyed job that is made again: what is left of the earlier attempts can never be taken for its own. */
export function jobIdOfAttempt(jobId: string, attempt: number): string {
  return attempt === 0 ? jobId : `${jobId}g${attempt}`;
}

export function formatJobId(jobId: string, models: readonly string[]): string {
  return `${jobId}@${models.join(">")}`;
}

/** @throws JobNotFoundError if the id has another form. */
export function parseJobId(id: string): { jobId: string; models: readonly string[] } {
  const [, jobId = "", list = ""] = /^([0-9a-z]+)@(.+)$/u.exec(id) ?? [];
  return { jobId, models: modelsOfId(id, list) };
}

/**
 * The end of a job's id. Ids come from anywhere, and what is in them becomes the names of keys.
 *
 * @throws JobNotFoundError if it names no models.
 */
export function modelsOfId(id: string, list: string): readonly string[] {
  const models = list.split(">");
  if (models.every(isModelId)) return models;
  throw new JobNotFoundError(
    "job_not_found",
    `"${id}" is not a job id; they look like 3f2c…@model`,
  );
}
