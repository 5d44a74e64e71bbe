import { setTimeout as sleep } from "node:timers/promises";
import {
  RankfleetError,
  type JobHandle,
  type RerankClient,
  type RerankRequest,
} from "@rankfleet/sdk";
import type { History } from "./history.ts";

export interface DriveOptions {
  /** Jobs under way at a time. Default 200. */
  readonly inFlight?: number;
  /** Which of the requests; default all. */
  readonly from?: number;
  readonly to?: number;
  /** Told of each result. */
  readonly onDelivered?: (delivered: number) => void;
}

/**
 * What an ingestion pipeline does: enqueues every request, two of three under a key of their own, repeats what was
 * not acknowledged, and waits for every result, however often Redis goes away meanwhile.
 */
export async function drive(
  client: RerankClient,
  requests: readonly RerankRequest[],
  history: History,
  { inFlight = 200, from = 0, to = requests.length, onDelivered = () => {} }: DriveOptions = {},
): Promise<void> {
  let next = from;
  const one = async (): Promise<void> => {
    while (next < to) {
      const number = next++;
      const request = requests[number]!;
      history.submit();
      try {
        const job = await whileUnavailable(() =>
          client.enqueue(
            number % 3 === 0 ? request : { ...request, idempotencyKey: `chaos-${number}` },
          ),
        );
        history.acknowledge(number, job.id);
        history.deliver(number, await whileUnavailable(() => job.result()));
        onDelivered(history.delivered);
      } catch (error) {
        history.fail(number, error);
      }
    }
  };
  await Promise.all(Array.from({ length: inFlight }, one));
}

/** Goes on from the ids of jobs that another process enqueued. */
export async function collect(
  jobs: ReadonlyMap<number, JobHandle>,
  history: History,
): Promise<void> {
  await Promise.all(
    [...jobs].map(async ([number, job]) => {
      try {
        history.deliver(number, await whileUnavailable(() => job.result()));
      } catch (error) {
        history.fail(number, error);
      }
    }),
  );
}

async function whileUnavailable<Result>(call: () => Promise<Result>): Promise<Result> {
  for (;;) {
    try {
      return await call();
    } catch (error) {
      if (!isPassing(error)) throw error;
      await sleep(200);
    }
  }
}

function isPassing(error: unknown): boolean {
  return RankfleetError.isInstance(error) && error.isRetryable && error.code !== "worker_failed";
}
