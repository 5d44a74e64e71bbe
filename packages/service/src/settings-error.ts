export interface SettingProblem {
  readonly flag: string;
  readonly env: string;
  readonly source: "flag" | "variable" | "unset";
  /** The text that was given, credentials hidden; absent if there was none. */
  readonly seen?: string;
  /** What is allowed. */
  readonly expected: string;
}

/** Settings that cannot be used: every problem at once, so that one restart is enough. */
export class SettingsError extends Error {
  override readonly name: string = "SettingsError";
  readonly code: string = "invalid_settings";
  readonly problems: readonly SettingProblem[];

  constructor(problems: readonly SettingProblem[]) {
    const count = problems.length === 1 ? "1 setting" : `${problems.length} settings`;
    super(`${count} cannot be used:\n${problems.map((each) => `  ${describe(each)}`).join("\n")}`);
    this.problems = problems;
  }
}

function describe({ flag, env, source, seen, expected }: SettingProblem): string {
  const got = source === "unset" ? "it is required" : `the ${source} says ${JSON.stringify(seen)}`;
  return `${flag} or ${env}: ${got}; expected ${expected}`;
}
