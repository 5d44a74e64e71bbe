/**
 * An app's settings: one table says each setting's flag, variable, default and meaning; reading,
 * `--help` and the documentation all come from it.
 *
 * - Precedence is flag, then variable, then default. An empty variable counts as unset, as Compose
 *   writes `NAME=` for a variable that is not there.
 * - Without a default, a setting is required unless its schema accepts `undefined`.
 * - Schemas see text (`many`: a list of texts) and turn it into the value; what they allow is their
 *   `.describe(…)`. setting-schemas.ts has the usual ones.
 */
import type { z } from "zod";
import { SettingsError, type SettingProblem } from "./settings-error.ts";

export interface Setting<Schema extends z.ZodType = z.ZodType> {
  /** As commander writes it: `--port <number>`; without `<…>` it is a switch. */
  readonly flag: string;
  /** The environment variable. */
  readonly env: string;
  readonly parse: Schema;
  /** The value when neither flag nor variable is given; taken as it is. */
  readonly default?: z.output<Schema>;
  /** Shown in place of a default that depends on the machine, e.g. `number of cores`. */
  readonly defaultText?: string;
  /** One sentence for `--help` and the documentation. */
  readonly help: string;
  /** Takes several values: the flag repeated, or the variable separated by commas. */
  readonly many?: boolean;
  /** Holds a credential: hidden in error messages, logs and help. */
  readonly secret?: boolean;
}

export type SettingsTable = Readonly<Record<string, Setting>>;

export type SettingsOf<Table extends SettingsTable> = {
  readonly [Name in keyof Table]: z.output<Table[Name]["parse"]>;
};

export interface SettingsSources {
  /** Parsed options by camel-cased flag, as commander's `opts()` returns them. */
  readonly flags: Readonly<Record<string, FlagValue>>;
  readonly env: Readonly<Record<string, string | undefined>>;
}

export type FlagValue = string | boolean | readonly string[] | undefined;

/** Checks each default against its schema's type, and keeps the exact types for `readSettings`. */
export function defineSettings<Schemas extends Record<string, z.ZodType>>(table: {
  readonly [Name in keyof Schemas]: Setting<Schemas[Name]>;
}): { readonly [Name in keyof Schemas]: Setting<Schemas[Name]> } {
  return table;
}

/** @throws SettingsError that lists every problem. */
export function readSettings<Table extends SettingsTable>(
  table: Table,
  sources: SettingsSources,
): SettingsOf<Table> {
  const values: Record<string, unknown> = {};
  const problems: SettingProblem[] = [];
  for (const [name, setting] of Object.entries(table)) {
    const read = readSetting(setting, sources);
    if ("problem" in read) problems.push(read.problem);
    else values[name] = read.value;
  }
  if (problems.length > 0) throw new SettingsError(problems);
  return values as SettingsOf<Table>;
}

/** How messages name a setting: `--port <number> or PORT`. */
export function nameSetting(setting: Pick<Setting, "flag" | "env">): string {
  return `${setting.flag} or ${setting.env}`;
}

/** A URL keeps everything but its credentials; any other secret disappears. */
export function hideSecret(value: unknown): string {
  if (typeof value !== "string" || !value.includes("://")) return "***";
  // The value is one URL, so what stands before its last @ is credentials, also where a password should have been
  // percent-encoded and was not.
  const [scheme = "", rest = ""] = value.split(/:\/\/(.*)/su);
  const at = rest.lastIndexOf("@");
  if (at < 0) return value;
  const [user = "", password] = rest.slice(0, at).split(/:(.*)/su);
  const shown = password === undefined ? "***" : `${user}:***`;
  return `${scheme}://${shown}@${rest.slice(at + 1)}`;
}

/** `--health-port <number>` → `healthPort`: the name under which commander files the option. */
export function flagKey(flag: string): string {
  const long = /--([a-z][a-z0-9-]*)/.exec(flag)?.[1];
  if (long === undefined) throw new Error(`bug: the flag "${flag}" has no long form`);
  return long.replaceAll(/-([a-z0-9])/g, (_match, letter: string) => letter.toUpperCase());
}

type Raw = string | readonly string[];

function readSetting(
  setting: Setting,
  sources: SettingsSources,
): { readonly value: unknown } | { readonly problem: SettingProblem } {
  const fromFlag = rawFlag(setting, sources.flags[flagKey(setting.flag)]);
  const raw = fromFlag ?? rawVariable(setting, sources.env[setting.env]);
  if (raw === undefined && setting.default !== undefined) return { value: setting.default };
  const parsed = setting.parse.safeParse(raw);
  if (parsed.success) return { value: parsed.data };
  const [issue] = parsed.error.issues;
  const seen = Array.isArray(raw) ? (raw[Number(issue?.path[0])] ?? raw.join(",")) : raw;
  return {
    problem: {
      flag: setting.flag,
      env: setting.env,
      source: raw === undefined ? "unset" : fromFlag === undefined ? "variable" : "flag",
      expected: setting.parse.description ?? issue?.message ?? "another value",
      ...(raw !== undefined && { seen: setting.secret ? hideSecret(seen) : String(seen) }),
    },
  };
}

function rawFlag(setting: Setting, value: FlagValue): Raw | undefined {
  if (value === undefined) return undefined;
  const texts = typeof value === "object" ? value : [String(value)];
  return setting.many ? texts : texts.at(-1);
}

function rawVariable(setting: Setting, value: string | undefined): Raw | undefined {
  if (value === undefined || value.trim() === "") return undefined;
  if (!setting.many) return value.trim();
  const parts = value.split(",").map((part) => part.trim());
  return parts.filter((part) => part !== "");
}
