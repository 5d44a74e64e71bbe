/**
 * The grade that an answer gives, thinking aloud (`<think>`) not counted. It must be a label, not a number that is
 * talked about ("a 3 would need more"): the number ends its line or sentence, or is followed by a dash, a bracket,
 * "because". Of labels, the first of these that there are count:
 *
 * 1. `final score: 2`, at the beginning of a line or sentence or behind `##`, as UMBRELA's own prompt has it: the last;
 * 2. a name and a number (`Grade: 2`, `Relevance: 2/3`) at the beginning of a line or as the last sentence, and a
 *    number alone on a line: they must agree;
 * 3. a number that begins a line (`3 - the passage answers`): they must agree, so a list or the rubric said again is none.
 *
 * @returns undefined where there is none, or where they do not agree: a missing label costs less than a wrong one.
 */
export function parseGrade(answer: string): number | undefined {
  const said = answer
    .replaceAll(/<think>[\s\S]*?<\/think>/giu, "")
    // Some templates open the thinking themselves; some answers end before it does.
    .replaceAll(/^[\s\S]*<\/think>|<think>[\s\S]*$/giu, "")
    // The scale, as in "Grade (0-3): 2", is no grade.
    .replaceAll(/\b0\s*(?:-|–|to)\s*3\b/giu, "")
    .trim();
  const final = grades(said, FINAL).at(-1);
  if (final !== undefined) return final;
  for (const forms of [[NAMED, LAST_SENTENCE, ALONE], [FIRST_OF_LINE]]) {
    const [grade, ...others] = new Set(forms.flatMap((form) => grades(said, form)));
    if (grade !== undefined) return others.length === 0 ? grade : undefined;
  }
  return undefined;
}

function grades(text: string, form: RegExp): number[] {
  return [...text.matchAll(form)].map((match) => Number(match[1]));
}

/** From 0 to 3, perhaps of 3; no part of another number, of a range or of "2 or 3". */
const NUMBER = String.raw`(?<![-–.,\d])([0-3])(?![\d%])(?:[ \t]*(?:/|out of)[ \t]*3\b)?(?![ \t]*[-–.,:/][ \t]*\d|[^\w\n]*(?:or|to)\s+\d)`;
const MARKS = String.raw`[^\w\n]{0,8}`;
const CLOSING = "[ \\t*_`\"')\\]}]*";
const LABEL_ENDS = `${CLOSING}(?:[-–—(.,;:!…]|\\s(?:because|since|as)\\b|$)`;
const NAME = String.raw`(?:(?:so|thus|therefore|the|my|overall|relevance),?\s+)*(?:grade|score|rating|label|relevance|answer)`;
const NAMED_NUMBER = `${MARKS}(?:(?:is|of)\\b${MARKS})?${NUMBER}`;

const FINAL = new RegExp(
  String.raw`(?:^|#|[.!?;]\s)${MARKS}(?:the\s+)?final\s+(?:relevance\s+)?(?:grade|score|answer)${NAMED_NUMBER}${LABEL_ENDS}`,
  "gimu",
);
const NAMED = new RegExp(`^${MARKS}${NAME}${NAMED_NUMBER}${LABEL_ENDS}`, "gimu");
const LAST_SENTENCE = new RegExp(
  String.raw`[.!?;]\s+${MARKS}${NAME}${NAMED_NUMBER}\W*(?![\s\S])`,
  "gimu",
);
const ALONE = new RegExp(`^${MARKS}${NUMBER}[^\\w\\n]*$`, "gimu");
const FIRST_OF_LINE = new RegExp(`^${MARKS}${NUMBER}${LABEL_ENDS}`, "gimu");
