import { describe, expect, test } from "vitest";
import { parseGrade } from "./parse-grade.ts";

describe("a label of the answer's own is its grade", () => {
  test.each([
    ["grade: 3", 3],
    ["Grade: **2**", 2],
    ["**Grade:**\n\n**2**", 2],
    [" 1 ", 1],
    ["2/3", 2],
    ["Relevance: 2", 2],
    ["The relevance grade is 1.", 1],
    ['{"grade": 2, "reason": "in part"}', 2],
    ["3 - the passage answers", 3],
    ["2. It answers in part.", 2],
    ["grade: 2 because it answers in part", 2],
    ["Grade (0-3): 2", 2],
    ["**Grade**: **2**", 2],
    ["grade is 1\n", 1],
    ["grade: 2\n- 3 of the facts are there", 2],
    ["grade: 2\n\nSo the grade is 2.", 2],
    ["1. It is on the subject.\n2. It says nothing of depth.\n\nGrade: 1", 1],
    // The last sentence of an answer that thinks first.
    ["The passage earns a grade of 0? No. grade: 2", 2],
    ["It is on the subject, no more. Grade: 1.", 1],
    ["It is on the subject.\r\n\r\nTherefore, the grade is 1.\r\n", 1],
  ])("%j is %s", (text, grade) => expect(parseGrade(text)).toBe(grade));
});

describe("a grade that an answer only talks about is none", () => {
  test.each([
    ["grade: 1\n\nExplanation: a score of 3 would need more.", 1],
    ["grade: 0\n\nNote: grade 3 needs a full answer", 0],
    ["grade: 3 – all of it is there (grade 2 would be partial)", 3],
    ["grade: 1\n\nGrade 3 would need the depth.", 1],
    ["Grade: 1. It would need the depth for grade: 3", 1],
    ["a score of 3 would need more", undefined],
  ])("%j is %s", (text, grade) => expect(parseGrade(text)).toBe(grade));
});

describe("a final score, as UMBRELA asks for it, stands above all others", () => {
  test.each([
    ["##final score: 2", 2],
    ["M: 3, T: 2\nfinal score: 2", 2],
    ["M: 3 T: 1 ##final score: 1", 1],
    ["score: 3\nOn a second look.\n##final score: 1", 1],
    ["A close call.\n**Final relevance score: 1/3**", 1],
    ["Final grade: 2\nFinal grade: 1", 1],
    ["final score: 1\nA final score of 3 would need more.", 1],
  ])("%j is %s", (text, grade) => expect(parseGrade(text)).toBe(grade));
});

describe("thinking aloud is no answer", () => {
  test.each([
    ["<think>at least grade 1, maybe more</think>\n3", 3],
    ["grade: 3 at first sight\ngrade: 3</think>grade: 1", 1],
    ["<think>Maybe grade: 3? Let me see", undefined],
  ])("%j is %s", (text, grade) => expect(parseGrade(text)).toBe(grade));
});

describe("where it is not clear there is no grade, rather than a guess", () => {
  test.each([
    ["grade: 1\ngrade: 2"],
    ["2\n\nGrade: 3 - if the table counts"],
    ["3 - the whole answer\n2 - in part\n1 - the subject\n0 - nothing"],
    ["Grade 3: the whole answer.\nGrade 2: in part.\nGrade: 2"],
    ["grade: 2 or 3"],
    ["grade: 2 (or 3)"],
    ["2-3"],
    ["grade: 7"],
    ["grade: 2/10"],
    ["grade: -1"],
    ["-1"],
    ["grade: 2.5"],
    ["relevant"],
    [""],
  ])("%j", (text) => expect(parseGrade(text)).toBeUndefined());
});
