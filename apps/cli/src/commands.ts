import type { Command } from "commander";

interface CommandEntry {
  readonly name: string;
  readonly description: string;
  /** Brings the command's code, and gives what adds its options: only the one that is called is loaded. */
  readonly load: () => Promise<(command: Command) => void>;
}

/** The one list of commands, in the order of `--help`. */
export const commands: readonly CommandEntry[] = [
  {
    name: "demo",
    description:
      "See the whole path at work: Redis, two workers, a bulk of queries, and what reranking changes.",
    load: async () => (await import("./commands/demo.ts")).configureDemo,
  },
  {
    name: "dev",
    description:
      "A Redis and workers on this machine, for as long as a command runs or until Ctrl-C.",
    load: async () => (await import("./commands/dev.ts")).configureDev,
  },
  {
    name: "worker",
    description:
      "Serve models: take jobs from Redis, score them, write the results. Start as many as you like.",
    load: async () => (await import("./commands/worker.ts")).configureWorker,
  },
  {
    name: "run",
    description: "Rerank a file of requests in bulk.",
    load: async () => (await import("./commands/run.ts")).configureRun,
  },
  {
    name: "score",
    description: "Score a few documents against a query, here and now, without Redis.",
    load: async () => (await import("./commands/score.ts")).configureScore,
  },
  {
    name: "eval",
    description:
      "Does reranking help on my data, and how deep? Figures, a plot and a page to look at.",
    load: async () => (await import("./commands/eval.ts")).configureEval,
  },
  {
    name: "judge",
    description: "Label (query, document) pairs with an LLM behind an OpenAI-compatible endpoint.",
    load: async () => (await import("./commands/judge.ts")).configureJudge,
  },
  {
    name: "models",
    description: "What a model folder is and costs here; make a smaller, faster file of one.",
    load: async () => (await import("./commands/models.ts")).configureModels,
  },
  {
    name: "queue",
    description: "Look at the queues, and set how long they may get.",
    load: async () => (await import("./commands/queue.ts")).configureQueue,
  },
  {
    name: "dead",
    description: "What could not be scored: look at it, have it tried again, or forget it.",
    load: async () => (await import("./commands/dead.ts")).configureDead,
  },
  {
    name: "doctor",
    description: "Check a Redis: version, policy, persistence, memory, clock, rights.",
    load: async () => (await import("./commands/doctor.ts")).configureDoctor,
  },
];
