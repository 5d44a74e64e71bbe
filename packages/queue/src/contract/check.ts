/**
 * A type guard that can say what it has refused. What comes out of Redis is checked with these and not with zod: once for
 * each job on either side, and after some idle milliseconds the many closures of a schema cost 0.1 ms each time.
 */
export interface Check<T> {
  (value: unknown): value is T;
  /** What is wrong with a value that it refuses. */
  flaw(value: unknown): Flaw;
}

/** Where in a value, and what should be there. */
export interface Flaw {
  /** Names and places from the outside in; empty: the value itself. */
  readonly path: readonly string[];
  readonly message: string;
}

export const isText: Check<string> = check((value) => typeof value === "string", "expected text");

export const isNumber: Check<number> = check(
  (value) => typeof value === "number",
  "expected a number",
);

export const isBoolean: Check<boolean> = check(
  (value) => typeof value === "boolean",
  "expected true or false",
);

export function isWholeFrom(least: number): Check<number> {
  return check(
    (value) => Number.isSafeInteger(value) && Number(value) >= least,
    `expected a whole number of at least ${least}`,
  );
}

export function isOneOf<const T>(...values: readonly T[]): Check<T> {
  const known: readonly unknown[] = values;
  const message = `expected ${values.map((each) => JSON.stringify(each)).join(" or ")}`;
  return check((value) => known.includes(value), message);
}

export function isEither<A, B>(a: Check<A>, b: Check<B>): Check<A | B> {
  const isFit = (value: unknown): value is A | B => a(value) || b(value);
  return Object.assign(isFit, { flaw: (value: unknown) => a.flaw(value) });
}

export function isOptional<T>(inner: Check<T>): Check<T | undefined> {
  const isFit = (value: unknown): value is T | undefined => value === undefined || inner(value);
  return Object.assign(isFit, { flaw: (value: unknown) => inner.flaw(value) });
}

/** One of several kinds of object, told apart by one of their fields. */
export function isKindOf<T>(field: string, kinds: { readonly [kind: string]: Check<T> }): Check<T> {
  const kindOf = (value: unknown): Check<T> | undefined => {
    const kind = isObject(value) ? value[field] : undefined;
    return typeof kind === "string" && Object.hasOwn(kinds, kind) ? kinds[kind] : undefined;
  };
  const message = `expected ${Object.keys(kinds).join(", ")}`;
  const flaw = (value: unknown): Flaw =>
    kindOf(value)?.flaw(value) ?? (isObject(value) ? { path: [field], message } : NO_OBJECT);
  const isFit = (value: unknown): value is T => kindOf(value)?.(value) === true;
  return Object.assign(isFit, { flaw });
}

export function isListOf<T>(each: Check<T>): Check<readonly T[]> {
  return ofEach(each, Array.isArray, "expected a list");
}

/** An object whose values are alike, whatever their names. */
export function isRecordOf<T>(each: Check<T>): Check<Readonly<Record<string, T>>> {
  return ofEach(each, isObject, NO_OBJECT.message);
}

/** An object with these fields; others are passed over, for a later version may add some. */
export function hasFields<T extends object>(checks: {
  readonly [K in keyof T]-?: Check<T[K]>;
}): Check<T> {
  const fields = Object.entries<Check<unknown>>(checks);
  const isFit = (value: unknown): value is T => {
    if (!isObject(value)) return false;
    for (const [name, isFitToo] of fields) {
      if (!isFitToo(value[name])) return false;
    }
    return true;
  };
  const flaw = (value: unknown): Flaw => {
    if (!isObject(value)) return NO_OBJECT;
    const [name, inner] = fields.find(([field, isFitToo]) => !isFitToo(value[field]))!;
    return within(name, inner.flaw(value[name]));
  };
  return Object.assign(isFit, { flaw });
}

function check<T>(isFit: (value: unknown) => boolean, message: string): Check<T> {
  return Object.assign((value: unknown): value is T => isFit(value), {
    flaw: (): Flaw => ({ path: [], message }),
  });
}

function ofEach<T, All>(
  each: Check<T>,
  isWhole: (value: unknown) => boolean,
  message: string,
): Check<All> {
  const isFit = (value: unknown): value is All => {
    if (!isWhole(value)) return false;
    if (Array.isArray(value)) return value.every((inner) => each(inner));
    return Object.values(value as object).every((inner) => each(inner));
  };
  const flaw = (value: unknown): Flaw => {
    if (!isWhole(value)) return { path: [], message };
    const [name, refused] = Object.entries(value as object).find(([, inner]) => !each(inner))!;
    return within(name, each.flaw(refused));
  };
  return Object.assign(isFit, { flaw });
}

const NO_OBJECT: Flaw = { path: [], message: "expected an object" };

function within(name: string, { path, message }: Flaw): Flaw {
  return { path: [name, ...path], message };
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
