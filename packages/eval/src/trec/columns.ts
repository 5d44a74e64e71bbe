/** Splits a line at its tabs if that gives columns enough, so that ids may have blanks; else at any white space. */
export function columnsOf(line: string, least: number): string[] {
  const byTabs = line.split("\t").map((column) => column.trim());
  return byTabs.length >= least ? byTabs : line.trim().split(/\s+/u);
}

/** A line that {@link columnsOf} takes apart again. */
export function formatColumns(columns: readonly (string | number)[]): string {
  const hasBlank = columns.some((column) => typeof column === "string" && /\s/u.test(column));
  return `${columns.join(hasBlank ? "\t" : " ")}\n`;
}
