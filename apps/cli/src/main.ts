import { Command, CommanderError } from "commander";
import { commands } from "./commands.ts";
import { explain } from "./explain.ts";

const program = new Command("rankfleet")
  .description(
    "A durable, queue-driven rerank fleet: jobs in Redis, workers on CPU or GPU, scores back.",
  )
  .version("0.1.0")
  .enablePositionalOptions()
  .showHelpAfterError("(--help shows what there is)")
  .exitOverride();

// `rankfleet … | head` has seen enough: that is no failure.
process.stdout.on("error", (error: NodeJS.ErrnoException) => {
  if (error.code === "EPIPE") process.exit();
  process.stderr.write(`error: cannot write to standard output: ${error.message}\n`);
  process.exit(1);
});

// Nobody reads what is said any more, as after `2>&1 | head`: what was to be written still is.
process.stderr.on("error", () => {});

try {
  for (const { name, description, load } of commands) {
    const command = program.command(name).description(description);
    if (process.argv.includes(name)) (await load())(command);
  }
  await program.parseAsync();
} catch (error) {
  if (error instanceof CommanderError) {
    process.exitCode = error.exitCode === 0 ? 0 : 2;
  } else {
    process.stderr.write(`${explain(error)}\n`);
    process.exitCode = isUsage(error) ? 2 : 1;
  }
}

/** By its code: nothing of a worker is loaded to say what went wrong with another command. */
function isUsage(error: unknown): boolean {
  return error instanceof Error && "code" in error && error.code === "invalid_settings";
}
