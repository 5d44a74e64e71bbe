import { expect, test } from "vitest";
import { shorten } from "./print.ts";

test.each([
  ["as it is", "as it is"],
  ["two\nlines\tof it", "two lines of it"],
  ["a text of more than that", "a text of more t…"],
  [`${"a".repeat(15)}\u{1F600} and more`, `${"a".repeat(15)}…`],
])("%j takes one line of a table, and no half character", (text, shown) => {
  expect(shorten(text, 17)).toBe(shown);
});
