/** The usual schemas for settings: they read a flag's or variable's text and say what they allow. */
import { z } from "zod";

export function text(allowed: string): z.ZodType<string> {
  return z.string().min(1).describe(allowed);
}

/** Plain digits only: `Number("")` is 0 and `Number("0x10")` is 16, and neither was meant. */
export function wholeNumber(range: { min: number; max?: number }): z.ZodType<number> {
  const max = range.max ?? Number.MAX_SAFE_INTEGER;
  const allowed =
    range.max === undefined
      ? `a whole number of at least ${range.min}`
      : `a whole number from ${range.min} to ${max}`;
  return z
    .string()
    .regex(/^-?\d+$/)
    .transform(Number)
    .pipe(z.number().min(range.min).max(max))
    .describe(allowed);
}

export function port(): z.ZodType<number> {
  return wholeNumber({ min: 0, max: 65_535 }).describe("a port, 0 to 65535 (0: any free one)");
}

/** For a switch: a flag without a value, or a variable that says yes or no. */
export function yesOrNo(): z.ZodType<boolean> {
  return z
    .string()
    .toLowerCase()
    .pipe(z.enum(["true", "1", "yes", "on", "false", "0", "no", "off"]))
    .transform((word) => ["true", "1", "yes", "on"].includes(word))
    .describe("true or false");
}

export function oneOf<const Word extends string>(words: readonly Word[]): z.ZodType<Word> {
  return z.enum(words as readonly [Word, ...Word[]]).describe(`one of ${words.join(", ")}`);
}

/** For a setting with `many`: at least one of what `each` reads. */
export function list<Item>(each: z.ZodType<Item>): z.ZodType<Item[]> {
  const schema = z.array(each).min(1);
  return each.description === undefined ? schema : schema.describe(each.description);
}
