import type { ResultRecord } from "@rankfleet/queue/contract";
import type { Session } from "./session.ts";

/**
 * Writes how a job ended whose result nobody will want, so that no worker need compute it and its texts can go.
 *
 * @param job.models Of its stages, in order.
 * @param options.isAgain An earlier call may have been cut short after the record: all that follows is done once more.
 * @returns false if it had ended already.
 */
export async function endJob(
  session: Session,
  { jobId, models }: { readonly jobId: string; readonly models: readonly string[] },
  record: ResultRecord,
  { isAgain = false }: { readonly isAgain?: boolean } = {},
): Promise<boolean> {
  const ended = {
    model: models.at(-1)!,
    past: models.slice(0, -1),
    jobId,
    replyTo: session.producerId,
  };
  const isWritten = (await session.store.settleUnlocked(ended, record)) === "written";
  if (!isWritten && !isAgain) return false;
  await session.queues.remove(models, jobId);
  await session.store.announceCancelled(models, jobId);
  return isWritten;
}
