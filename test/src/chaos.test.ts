import { expect, test } from "vitest";
import { faults } from "./chaos/faults/index.ts";

// `npm run chaos` does the same for minutes, and prints a report.
for (const fault of faults) {
  test(`${fault.name}: ${fault.what}`, { timeout: 240_000 }, async () => {
    const report = await fault.run({ isShort: true, say: () => {} });
    // All of it, facts too: what went wrong once in a hundred runs must be told by that run.
    const all = JSON.stringify(report);
    expect(report, all).toMatchObject({ ok: true, lost: 0, secondEffects: 0, unequalScores: 0 });
    expect(report.acknowledged, all).toBe(report.submitted);
    expect(report.submitted, all).toBeGreaterThan(0);
  });
}
