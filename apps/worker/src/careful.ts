import {
  CoreError,
  documentDigests,
  fuse,
  readTexts,
  type LengthPolicy,
  type Reranker,
  type ScoredDocument,
  type ScoredRequest,
  type SerializedTexts,
  type SubmitOptions,
  type Texts,
} from "@rankfleet/core";
import { CareNotes, type Attempt, type DocumentRun } from "@rankfleet/queue";
import { RankfleetError, type Keys } from "@rankfleet/queue/contract";
import type { Redis } from "ioredis";
import type { Solitude } from "./solitude.ts";

/**
 * Scores jobs whose workers have died, so that a pair that kills is told from its neighbours.
 *
 * A dead process cannot say which pair killed it, so each step is written down before it is taken: a run of a few
 * documents, and then what became of them. After the next death the worker that takes the job finds the run, and tries
 * its documents one by one; after one more death it finds a single document, and fails it. So a pair costs three workers,
 * no other pair is failed for it, and what was scored stays. While a run is tried nothing else is scored in the process,
 * so the killer is among its documents.
 */
export class CarefulScoring {
  readonly #options: CarefulScoringOptions;

  constructor(options: CarefulScoringOptions) {
    this.#options = options;
  }

  /** @throws RankfleetError `worker_killed` if reading the job's texts is what kills; LeaseLost. */
  async score(
    attempt: Attempt,
    request: {
      readonly texts: SerializedTexts;
      readonly policy: LengthPolicy;
      readonly returnTexts: boolean;
      readonly firstStageScores: readonly number[] | undefined;
    },
    options: SubmitOptions,
  ): Promise<ScoredRequest> {
    const { reranker, solitude } = this.#options;
    const start = performance.now();
    const notes = new CareNotes<DocumentOutcome>(this.#options, attempt);
    const known = await notes.read(reranker.facts.revision);
    if (known.deathsAtTexts >= 2) {
      throw new RankfleetError(
        "worker_killed",
        "two workers died while they read this job's texts alone",
        { field: "documents" },
      );
    }
    const texts = await solitude.alone(() => notes.tries("texts", () => readTexts(request.texts)));
    const { policy, firstStageScores } = request;
    const done = texts.documents.map((_, index) => known.outcomes.get(index));
    for (const index of done.keys()) {
      if (done[index] !== undefined || !isGuilty(index, known.left)) continue;
      done[index] = KILLER;
      await notes.keep(index, [KILLER]);
    }
    for (const run of runsOf(done, known.left)) {
      const scored = await solitude.alone(() =>
        this.#try(notes, run, { texts, ...policy }, options),
      );
      for (const [i, outcome] of scored.entries()) done[run.from + i] = outcome;
    }
    const documents = done.map((outcome) => outcome!.document);
    const weight = reranker.facts.firstStageWeight;
    const logits = documents.map((document) =>
      document.state === "scored" ? document.logit : null,
    );
    return {
      documents,
      digests: documentDigests(texts, policy),
      ...(request.returnTexts ? { texts } : {}),
      ...(firstStageScores === undefined || weight === undefined
        ? {}
        : { fused: fuse(logits, firstStageScores, weight) }),
      pairs: done.reduce((sum, outcome) => sum + outcome!.pairs, 0),
      cached: 0,
      timings: { waitToTokenizeMs: 0, tokenizeMs: 0, scoreMs: performance.now() - start },
    };
  }

  /** The job has ended. */
  async forget(attempt: Attempt): Promise<void> {
    await new CareNotes(this.#options, attempt).forget();
  }

  async #try(
    notes: CareNotes<DocumentOutcome>,
    run: DocumentRun,
    { texts, ...policy }: LengthPolicy & { readonly texts: Texts },
    options: SubmitOptions,
  ): Promise<DocumentOutcome[]> {
    options.signal?.throwIfAborted();
    const { from, to } = run;
    const score = async (): Promise<DocumentOutcome[]> => {
      const scored = await this.#options.reranker.score(
        { texts: { query: texts.query, documents: texts.documents.slice(from, to) }, ...policy },
        options,
      );
      // Of split documents, which have several pairs each, core tells only the sum.
      const outcomes = scored.documents.map((document, i) => ({
        document,
        pairs: i === 0 ? scored.pairs - (scored.documents.length - 1) : 1,
      }));
      // While the mark stands, or a death between the two would leave neither.
      await notes.keep(from, outcomes);
      return outcomes;
    };
    // A thread that died takes the process with it: these stay suspects.
    const isDying = (error: unknown): boolean =>
      CoreError.isInstance(error) && error.code === "engine_crashed";
    return notes.tries(run, score, isDying);
  }
}

export interface CarefulScoringOptions {
  readonly redis: Redis;
  readonly keys: Keys;
  readonly model: string;
  readonly reranker: Reranker;
  readonly solitude: Solitude;
}

/** Few, so that trying them one by one takes little; many, so that a large job does not take for ever. */
const RUN_DOCUMENTS = 16;

/** What became of a document, as the notes keep it. */
interface DocumentOutcome {
  readonly document: ScoredDocument;
  readonly pairs: number;
}

const KILLER: DocumentOutcome = {
  document: {
    state: "failed",
    failure: {
      code: "process_killed",
      message: "two workers died while they tried this document, the second time by itself",
    },
  },
  pairs: 0,
};

const holds = ({ from, to }: DocumentRun, index: number): boolean => from <= index && index < to;

/** Whether one attempt died while it tried the document by itself, and another one before, with or without others. */
function isGuilty(index: number, left: readonly DocumentRun[]): boolean {
  const of = left.filter((run) => holds(run, index));
  return of.length >= 2 && of.some(({ from, to }) => to - from === 1);
}

/** What is left to do: runs, and one by one those that an attempt died with. */
function runsOf(
  done: readonly (DocumentOutcome | undefined)[],
  left: readonly DocumentRun[],
): DocumentRun[] {
  const isSuspect = (index: number): boolean => left.some((run) => holds(run, index));
  const runs: DocumentRun[] = [];
  for (let from = 0; from < done.length;) {
    if (done[from] !== undefined) {
      from++;
      continue;
    }
    let to = from + 1;
    if (!isSuspect(from)) {
      while (
        to < done.length &&
        done[to] === undefined &&
        !isSuspect(to) &&
        to - from < RUN_DOCUMENTS
      )
        to++;
    }
    runs.push({ from, to });
    from = to;
  }
  // Suspects last: what else the job has is safe by then.
  return runs.toSorted((a, b) => Number(isSuspect(a.from)) - Number(isSuspect(b.from)));
}
