import { expect, test } from "vitest";
import { retryAfterMs } from "./retry-after.ts";

const NOW = Date.parse("2026-03-01T12:00:00Z");

test.each([
  ["30", 30_000],
  ["0.05", 50],
  [" 3600 ", 3_600_000],
  ["Sun, 01 Mar 2026 12:01:30 GMT", 90_000],
  ["Sun, 01 Mar 2026 11:00:00 GMT", undefined],
  ["0", undefined],
  ["-5", undefined],
  ["Infinity", undefined],
  ["in a while", undefined],
  ["", undefined],
  [null, undefined],
])("Retry-After: %s asks for %s ms", (header, ms) => {
  expect(retryAfterMs(header, NOW)).toBe(ms);
});
