/** Columns side by side; all but the first aligned to the right. */
export function printTable(rows: readonly (readonly (string | number)[])[]): string {
  const widths = rows[0]!.map((_, column) =>
    Math.max(...rows.map((row) => String(row[column] ?? "").length)),
  );
  return rows
    .map((row) =>
      row
        .map((cell, column) =>
          column === 0
            ? String(cell).padEnd(widths[column]!)
            : String(cell).padStart(widths[column]!),
        )
        .join("  "),
    )
    .join("\n");
}
