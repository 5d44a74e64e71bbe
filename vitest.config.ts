import { defineConfig } from "vitest/config";
import { BaseSequencer, type TestSpecification } from "vitest/node";

const conditions = ["@rankfleet/source", "node", "import", "default"];

/** The faults take a third of all the time, and would be alone at the end with one of two cores. */
class FaultsFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const areFaults = ({ moduleId }: TestSpecification): boolean =>
      moduleId.endsWith("/chaos.test.ts");
    return (await super.sort(files)).toSorted(
      (a, b) => Number(areFaults(b)) - Number(areFaults(a)),
    );
  }
}

export default defineConfig({
  // Tests run from source; only what runs in threads or processes of its own comes from the build.
  resolve: { conditions },
  ssr: { resolve: { conditions, externalConditions: conditions } },
  test: {
    include: [
      "packages/*/src/**/*.test.ts",
      "apps/*/src/**/*.test.ts",
      "bench/src/**/*.test.ts",
      "test/src/**/*.test.ts",
    ],
    reporters: ["default", "./test/closing-line.ts"],
    testTimeout: 30_000,
    expect: { poll: { timeout: 10_000 } },
    hookTimeout: 60_000,
    // Two cores, and some tests start workers of their own.
    maxWorkers: 2,
    sequence: { sequencer: FaultsFirst },
  },
});
