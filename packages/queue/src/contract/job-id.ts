import { createHash, randomUUID } from "node:crypto";
import { JobNotFoundError } from "./errors.ts";

/**
 * A job's public id is `<job>@<model>`, or `<job>@<model>><model>` for a cascade, so it can be found
 * again from any process by the id alone.
 * The first part is the queue's own id: random, or made from the idempotency key, so that a repeat
 * meets the first job.
 */
export function newJobId(idempotency?: {
  readonly key: string;
  readonly tenant?: string | undefined;
}): string {
  if (idempotency === undefined) return randomUUID().replaceAll("-", "");
  const { tenant = "", key } = idempotency;
  // Not all digits, which BullMQ reserves for its own counter.
  return `k${createHash("sha256").update(`${tenant}\0${key}`).digest("hex").slice(0, 40)}`;
}

export function formatJobId(jobId: string, models: readonly string[]): string {
  return `${jobId}@${models.join(">")}`;
}

/** @throws JobNotFoundError if the id has another form. */
export function parseJobId(id: string): { jobId: string; models: readonly string[] } {
  const match = /^([0-9a-z]+)@(.+)$/u.exec(id);
  if (match === null) {
    throw new JobNotFoundError(
      "job_not_found",
      `"${id}" is not a job id; they look like 3f2c…@model`,
    );
  }
  return { jobId: match[1]!, models: match[2]!.split(">") };
}
