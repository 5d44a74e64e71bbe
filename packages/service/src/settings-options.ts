import { hideSecret, type Setting, type SettingsTable } from "./settings.ts";
import { markdownTable } from "./markdown-table.ts";

/** What we need of a commander `Command`. */
export interface OptionHost {
  option(
    flags: string,
    description: string,
    collect: (value: string, previous: unknown) => unknown,
  ): unknown;
}

/**
 * Adds every setting as an option, its help naming variable and default. Commander gets no default,
 * so that `opts()` holds only what was typed and the variable keeps its place in the order.
 */
export function addSettingsOptions(host: OptionHost, table: SettingsTable): void {
  for (const setting of Object.values(table)) {
    const collect = setting.many
      ? (value: string, previous: unknown): unknown => [
          ...(Array.isArray(previous) ? previous : []),
          value,
        ]
      : (value: string): unknown => value;
    host.option(setting.flag, describe(setting), collect);
  }
}

/** The settings as a Markdown table for the documentation. */
export function settingsTable(table: SettingsTable): string {
  const rows = Object.values(table).map((setting) => [
    `\`${setting.flag}\`${setting.many ? " (repeatable)" : ""}`,
    `\`${setting.env}\`${setting.many ? " (comma-separated)" : ""}`,
    wordDefault(setting) ?? (isRequired(setting) ? "required" : "none"),
    setting.parse.description ?? "",
    setting.help,
  ]);
  return markdownTable(["Flag", "Variable", "Default", "Allowed", "Meaning"], rows);
}

function describe(setting: Setting): string {
  const fallback = wordDefault(setting);
  const facts = [
    setting.many ? "repeatable" : undefined,
    `env: ${setting.env}`,
    fallback !== undefined ? `default: ${fallback}` : undefined,
    isRequired(setting) ? "required" : undefined,
  ].filter((fact) => fact !== undefined);
  return `${setting.help} (${facts.join("; ")})`;
}

function isRequired(setting: Setting): boolean {
  return setting.default === undefined && !setting.parse.safeParse(undefined).success;
}

function wordDefault(setting: Setting): string | undefined {
  if (setting.defaultText !== undefined) return setting.defaultText;
  if (setting.default === undefined) return undefined;
  if (setting.secret) return hideSecret(setting.default);
  if (Array.isArray(setting.default)) return setting.default.join(",");
  return typeof setting.default === "string" ? setting.default : JSON.stringify(setting.default);
}
