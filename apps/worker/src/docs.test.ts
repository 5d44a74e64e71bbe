import { readFileSync } from "node:fs";
import { metricsTable, settingsTable } from "@rankfleet/service";
import { expect, test } from "vitest";
import { workerSettings } from "./settings.ts";

const page = readFileSync(new URL("../../../docs/worker.md", import.meta.url), "utf8");

test("docs/worker.md shows the settings as they are", () => {
  expect(page).toContain(settingsTable(workerSettings));
});

test("docs/worker.md shows the metrics as they are", () => {
  expect(page).toContain(metricsTable());
});
