import { expect, test } from "vitest";
import { documentDigests } from "./pair-identity.ts";

test("texts that differ have digests that differ, also where their bytes in UTF-8 do not", () => {
  const documents = ["x\uFFFD", "x\uD800", "x\uD801", "x", ""];
  expect(new Set(documentDigests({ query: "q", documents }, {})).size).toBe(documents.length);
});
