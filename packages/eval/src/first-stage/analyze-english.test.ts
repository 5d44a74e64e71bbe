import { expect, test } from "vitest";
import { analyzeEnglish } from "./analyze-english.ts";

test.each([
  ["The wings of an aircraft, heated!", ["wing", "aircraft", "heat"]],
  ["Running RUNS ran", ["run", "run", "ran"]],
  ["the dog's bone; dogs’ bones", ["dog", "bone", "dog", "bone"]],
  ["don't use U.S. 3.5 or v1.2.3", ["don't", "us", "u.", "3.5", "v1.2.3"]],
  ["café Über naïve", ["café", "über", "naïv"]],
  ["速度 and 声速 2号", ["速", "度", "声", "速", "2", "号"]],
  ["コーヒーを淹れる", ["コーヒー", "を", "淹", "れ", "る"]],
  ["\uD800 \u0000 — …", []],
  ["", []],
])("%j becomes %j", (text, terms) => {
  expect(analyzeEnglish(text)).toEqual(terms);
});
