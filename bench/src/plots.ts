import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { SuiteReport } from "./suite.ts";

interface Bar {
  readonly label: string;
  readonly value: number;
}

/** Throughput and padding by contestant and workload, scaling, latency: what the reports hold of them. */
export async function writePlots(
  folder: string,
  suites: Readonly<Record<string, SuiteReport>>,
): Promise<void> {
  await mkdir(folder, { recursive: true });
  for (const [name, { what, table }] of Object.entries(suites)) {
    for (const column of PLOTTED) {
      const at = table[0]!.indexOf(column.head);
      if (at < 1) continue;
      const bars = table
        .slice(1)
        .map((row) => ({ label: String(row[0]), value: Number.parseFloat(String(row[at])) }))
        .filter(({ value }) => Number.isFinite(value));
      const svg = barChart(`${name}: ${column.head}`, what, bars);
      await writeFile(join(folder, `${name}-${column.file}.svg`), svg);
    }
  }
}

const PLOTTED = [
  { head: "pairs/s", file: "throughput" },
  { head: "real ÷ padded", file: "padding" },
  { head: "÷ workers × one", file: "efficiency" },
  { head: "p95 ms", file: "latency" },
];

const WIDTH = 760;
const LEFT = 240;
const ROW = 30;
const TOP = 64;

function barChart(title: string, what: string, bars: readonly Bar[]): string {
  const most = Math.max(...bars.map(({ value }) => value));
  const rows = bars.map(({ label, value }, index) => {
    const y = TOP + index * ROW;
    const width = (value / most) * (WIDTH - LEFT - 90);
    const fill = label === "rankfleet" ? "#0b6e4f" : "#8a9ba8";
    return [
      `<text x="${LEFT - 8}" y="${y + 17}" text-anchor="end">${escape(label)}</text>`,
      `<rect x="${LEFT}" y="${y + 3}" width="${width.toFixed(1)}" height="${ROW - 10}" fill="${fill}"/>`,
      `<text x="${LEFT + width + 6}" y="${y + 17}">${value.toLocaleString("en")}</text>`,
    ].join("");
  });
  const height = TOP + bars.length * ROW + 10;
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" font-family="system-ui, sans-serif" font-size="13">
<rect width="100%" height="100%" fill="#fff"/>
<text x="16" y="24" font-size="16" font-weight="600">${escape(title)}</text>
<text x="16" y="44" font-size="11" fill="#555">${escape(what)}</text>
${rows.join("\n")}
</svg>
`;
}

function escape(text: string): string {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;");
}
