import { expect, test } from "vitest";
import { redactUrl } from "./redact-url.ts";

test.each([
  ["redis://:secret@host:6379/0", "redis://:***@host:6379/0"],
  ["rediss://app:s%40cret@host", "rediss://app:***@host"],
  ["redis://app:un@escaped@host/1", "redis://app:***@host/1"],
  ["https://token@host/path", "https://***@host/path"],
  ["redis://host:6379", "redis://host:6379"],
  ["mail me@home about https://host/a@b", "mail me@home about https://host/a@b"],
  ["from redis://a:b@c to redis://d:e@f", "from redis://a:***@c to redis://d:***@f"],
])("%s is shown as %s", (text, shown) => {
  expect(redactUrl(text)).toBe(shown);
});

test("a megabyte without credentials costs one pass", () => {
  const startedAt = performance.now();
  redactUrl(`${"a://".repeat(250_000)}@`);
  redactUrl(`://${"a".repeat(1_000_000)} @`);
  expect(performance.now() - startedAt).toBeLessThan(500);
});
