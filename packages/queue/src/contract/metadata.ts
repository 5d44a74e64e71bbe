import { isBoolean, isEither, isNumber, isOneOf, isRecordOf, isText, type Check } from "./check.ts";

/** What a caller has attached to a request: it comes back with the result. */
export type Metadata = Readonly<Record<string, string | number | boolean | null>>;

/** @internal */
export const isMetadata: Check<Metadata> = isRecordOf(
  isEither(isEither(isText, isNumber), isEither(isBoolean, isOneOf(null))),
);
