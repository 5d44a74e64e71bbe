import { writeFile } from "node:fs/promises";
import { parseArgs } from "node:util";
import type { Fault } from "./fault.ts";
import { faults } from "./faults/index.ts";
import type { FaultReport } from "./history.ts";

const HELP = `Usage: npm run chaos -- [options]

Really kills things, and checks afterwards that nothing was lost and nothing came twice. What is promised,
sentence by sentence: docs/GUARANTEES.md

Options:
  --short        every fault in its short form (about four minutes in all; the tests run it too)
  --only FAULT   one fault, or several with commas between
  --json FILE    the report as JSON
  --list         the faults
  -h, --help

Faults:
${faults.map(({ name, what }) => `  ${name.padEnd(18)} ${what}`).join("\n")}

Examples:
  npm run chaos -- --short
  npm run chaos -- --only worker-kill,poison --json report.json
`;

await main();

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      short: { type: "boolean", default: false },
      only: { type: "string" },
      json: { type: "string" },
      list: { type: "boolean", default: false },
      help: { type: "boolean", short: "h", default: false },
    },
  });
  if (values.help || values.list) {
    process.stdout.write(HELP);
    return;
  }
  const reports: FaultReport[] = [];
  for (const fault of chosen(values.only)) {
    process.stderr.write(`${fault.name}: ${fault.what}\n`);
    const start = performance.now();
    const report = await run(fault, values.short);
    reports.push(report);
    const seconds = ((performance.now() - start) / 1000).toFixed(0);
    process.stdout.write(`${toLine(report)}  (${seconds} s)\n`);
    if (values.json !== undefined) {
      await writeFile(values.json, `${JSON.stringify(reports, undefined, 2)}\n`);
    }
  }
  const failed = reports.filter(({ ok }) => !ok).map(({ fault }) => fault);
  process.stdout.write(
    failed.length === 0
      ? `\nall ${reports.length} faults: nothing lost, nothing twice\n`
      : `\nNOT as promised: ${failed.join(", ")}\n`,
  );
  process.exit(failed.length === 0 ? 0 : 1);
}

function chosen(only: string | undefined): readonly Fault[] {
  if (only === undefined) return faults;
  return only.split(",").map((name) => {
    const fault = faults.find((each) => each.name === name);
    if (fault !== undefined) return fault;
    process.stderr.write(
      `--only: no fault "${name}"; there are ${faults.map((each) => each.name).join(", ")}\n`,
    );
    process.exit(2);
  });
}

/** A fault that could not even be tried is one that was not withstood. */
async function run(fault: Fault, isShort: boolean): Promise<FaultReport> {
  try {
    return await fault.run({ isShort, say: (line) => process.stderr.write(`  ${line}\n`) });
  } catch (error) {
    return {
      fault: fault.name,
      submitted: 0,
      acknowledged: 0,
      lost: 0,
      secondEffects: 0,
      unequalScores: 0,
      takeoverMedianSeconds: null,
      ok: false,
      facts: { error: error instanceof Error ? (error.stack ?? error.message) : String(error) },
    };
  }
}

function toLine(report: FaultReport): string {
  const { fault, submitted, acknowledged, lost, secondEffects, unequalScores, facts } = report;
  const counts = `${submitted} submitted, ${acknowledged} acknowledged, ${lost} lost, ${secondEffects} second effects, ${unequalScores} unequal scores`;
  const takeover =
    report.takeoverMedianSeconds === null
      ? ""
      : `, median takeover ${report.takeoverMedianSeconds.toFixed(1)} s`;
  const more = Object.entries(facts).map(([name, value]) => `${name} ${value}`);
  return `${report.ok ? "ok  " : "FAIL"} ${fault.padEnd(18)} ${counts}${takeover}${more.length === 0 ? "" : `; ${more.join(", ")}`}`;
}
