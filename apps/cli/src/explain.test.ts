import { ModelNotServedError } from "@rankfleet/sdk";
import { expect, test } from "vitest";
import { explain } from "./explain.ts";

test("an error advises what a command has, not an option of the SDK's client", () => {
  expect(explain(new ModelNotServedError("bge", ["box"]))).toBe(
    'error: model: no worker serves "bge" (served: box); start one with rankfleet worker --model, or name one that is served',
  );
});
