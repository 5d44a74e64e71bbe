import type { RerankRequest, RerankResult } from "@rankfleet/sdk";
import type { Redis } from "ioredis";

/** What one fault showed. Counts are of jobs. */
export interface FaultReport {
  readonly fault: string;
  readonly submitted: number;
  /** Accepted: `enqueue` resolved. */
  readonly acknowledged: number;
  /** Acknowledged, and no result in the end. */
  readonly lost: number;
  /** Results beyond one that were written or delivered of a job, and those that were another one when read again. */
  readonly secondEffects: number;
  /** Documents whose logit is not, to the last bit, that of an undisturbed run. */
  readonly unequalScores: number;
  /** From a worker's death until another has what it had in hand; null where nothing was taken over. */
  readonly takeoverMedianSeconds: number | null;
  readonly ok: boolean;
  /** What else this fault must show. */
  readonly facts: Readonly<Record<string, number | string | boolean>>;
}

/** Logits of a request's documents by their place; null where a document has none. */
export type Logits = readonly (number | null)[];

/**
 * Everything that happened to the jobs of one run, to be checked afterwards against what was promised:
 * submitted and acknowledged as the producer saw it, written as Redis announced it, delivered as the
 * caller got it.
 */
export class History {
  readonly #requests: readonly RerankRequest[];
  readonly #acknowledged = new Map<number, string>();
  readonly #delivered = new Map<number, Logits[]>();
  readonly #failures = new Map<number, string>();
  readonly #writes = new Map<string, number>();
  #submitted = 0;
  #changed = 0;

  constructor(requests: readonly RerankRequest[]) {
    this.#requests = requests;
  }

  /** Counts every record that is written, from now on. Returns what ends it. */
  async watchWrites(redis: Redis): Promise<() => void> {
    const subscriber = redis.duplicate();
    subscriber.on("error", () => {});
    subscriber.on("pmessage", (_pattern: string, _channel: string, news: string) => {
      // Only who wrote the record publishes it; whoever comes later says no more than that there is one.
      const [job = "", record] = news.split(" ", 2);
      if (record !== undefined) this.#writes.set(job, (this.#writes.get(job) ?? 0) + 1);
    });
    await subscriber.psubscribe("*:ended:*");
    return () => subscriber.disconnect();
  }

  submit(): void {
    this.#submitted++;
  }

  acknowledge(number: number, id: string): void {
    this.#acknowledged.set(number, id);
  }

  deliver(number: number, result: RerankResult): void {
    const before = this.#delivered.get(number) ?? [];
    this.#delivered.set(number, [...before, this.#logitsOf(number, result)]);
  }

  /** When all is over: what stands must be what was delivered. */
  readAgain(number: number, result: RerankResult): void {
    const [first] = this.#delivered.get(number) ?? [];
    if (first === undefined || !areSame(first, this.#logitsOf(number, result))) this.#changed++;
  }

  #logitsOf(number: number, result: RerankResult): Logits {
    const logits = this.#requests[number]!.documents.map((): number | null => null);
    for (const document of result.results) {
      if (document.error === undefined) logits[document.index] = document.logit;
    }
    return logits;
  }

  fail(number: number, error: unknown): void {
    this.#failures.set(number, error instanceof Error ? error.message : String(error));
  }

  get delivered(): number {
    return this.#delivered.size;
  }

  get failures(): ReadonlyMap<number, string> {
    return this.#failures;
  }

  /** Public ids of the jobs that were accepted, by request. */
  get acknowledged(): ReadonlyMap<number, string> {
    return this.#acknowledged;
  }

  /** @param expected Logits of each request in an undisturbed run. */
  report(
    expected: readonly Logits[],
  ): Omit<FaultReport, "fault" | "ok" | "facts" | "takeoverMedianSeconds"> {
    const lost = [...this.#acknowledged.keys()].filter((number) => !this.#delivered.has(number));
    let secondEffects = this.#changed;
    let unequalScores = 0;
    for (const writes of this.#writes.values()) secondEffects += writes - 1;
    for (const [number, deliveries] of this.#delivered) {
      secondEffects += deliveries.length - 1;
      for (const [index, logit] of deliveries[0]!.entries()) {
        if (!isSame(logit, expected[number]![index]!)) unequalScores++;
      }
    }
    return {
      submitted: this.#submitted,
      acknowledged: this.#acknowledged.size,
      lost: lost.length,
      secondEffects,
      unequalScores,
    };
  }
}

function areSame(a: Logits, b: Logits): boolean {
  return a.length === b.length && a.every((logit, index) => isSame(logit, b[index]!));
}

/** Bit for bit: both are float32. */
function isSame(a: number | null, b: number | null): boolean {
  if (a === null || b === null) return a === b;
  return Object.is(Math.fround(a), Math.fround(b));
}
