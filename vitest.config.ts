import { defineConfig } from "vitest/config";

const conditions = ["@rankfleet/source", "node", "import", "default"];

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
  },
});
