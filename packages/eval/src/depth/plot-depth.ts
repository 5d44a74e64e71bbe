import type { DepthAdvice, DepthPoint } from "./advise-depth.ts";

const [WIDTH, HEIGHT] = [720, 360];
const MARGIN = { left: 60, right: 24, top: 36, bottom: 48 };

/** An SVG of quality (with its 95 % band) and recall over depth; the depth axis is logarithmic. */
export function plotDepth(advice: DepthAdvice): string {
  const { points, measure, recallMeasure, best, cheapest } = advice;
  const x = xScale(points);
  const y = yScale(points);
  const line = (value: (point: DepthPoint) => number): string =>
    points.map((point) => `${x(point.depth)},${y(value(point))}`).join(" ");
  const band = [
    ...points.map(({ depth, interval }) => `${x(depth)},${y(interval[1])}`),
    ...points.toReversed().map(({ depth, interval }) => `${x(depth)},${y(interval[0])}`),
  ].join(" ");
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${HEIGHT}" font-family="sans-serif" font-size="12" role="img" aria-label="${measure} and ${recallMeasure} against depth">
${y.ticks.map((tick) => `<line x1="${MARGIN.left}" x2="${WIDTH - MARGIN.right}" y1="${y(tick)}" y2="${y(tick)}" stroke="#ddd"/><text x="${MARGIN.left - 8}" y="${y(tick) + 4}" text-anchor="end">${tick.toFixed(2)}</text>`).join("\n")}
${labelled(points, x)
  .map(
    ({ depth }) =>
      `<text x="${x(depth)}" y="${HEIGHT - MARGIN.bottom + 18}" text-anchor="middle">${depth}</text>`,
  )
  .join("\n")}
<text x="${WIDTH / 2}" y="${HEIGHT - 8}" text-anchor="middle">candidates reranked</text>
<polygon points="${band}" fill="#2563eb" opacity="0.15"/>
<polyline points="${line(({ value }) => value)}" fill="none" stroke="#2563eb" stroke-width="2"/>
${points.map(({ depth, value, recall }) => `<circle cx="${x(depth)}" cy="${y(value)}" r="3" fill="#2563eb"/><circle cx="${x(depth)}" cy="${y(recall)}" r="3" fill="#d97706"/>`).join("\n")}
<polyline points="${line(({ recall }) => recall)}" fill="none" stroke="#d97706" stroke-width="2" stroke-dasharray="5 3"/>
${mark(x(cheapest), 10, `cheapest: ${cheapest}`)}${best === cheapest ? "" : mark(x(best), 26, `best: ${best}`)}
<text x="${MARGIN.left}" y="18" fill="#2563eb">— ${measure} (95 % band)</text><text x="${MARGIN.left + 180}" y="18" fill="#d97706">- - ${recallMeasure}</text>
</svg>
`;
}

/** A dashed line down the plot; its label stands on the side with more room. */
function mark(x: number, below: number, label: string): string {
  const text = x > WIDTH / 2 ? `x="${x - 4}" text-anchor="end"` : `x="${x + 4}"`;
  return `<line x1="${x}" x2="${x}" y1="${MARGIN.top}" y2="${HEIGHT - MARGIN.bottom}" stroke="#6b7280" stroke-dasharray="2 3"/><text ${text} y="${MARGIN.top + below}" fill="#374151">${label}</text>`;
}

/** Those whose numbers have room on the axis: the deepest, and before it what does not touch the next. */
function labelled(points: readonly DepthPoint[], x: (depth: number) => number): DepthPoint[] {
  const kept: DepthPoint[] = [];
  for (const point of points.toReversed()) {
    const next = kept.at(-1);
    if (next === undefined || x(next.depth) - x(point.depth) >= LABEL_WIDTH) kept.push(point);
  }
  return kept.toReversed();
}

/** Of four digits and the space beside them, in units of the plot. */
const LABEL_WIDTH = 32;

function xScale(points: readonly DepthPoint[]): (depth: number) => number {
  const [low, high] = [Math.log(points[0]!.depth), Math.log(points.at(-1)!.depth)];
  const span = WIDTH - MARGIN.left - MARGIN.right;
  return (depth) =>
    round(MARGIN.left + span * (high === low ? 0.5 : (Math.log(depth) - low) / (high - low)));
}

function yScale(points: readonly DepthPoint[]): ((value: number) => number) & { ticks: number[] } {
  const values = points.flatMap(({ interval, recall }) => [...interval, recall]);
  const low = Math.max(0, Math.floor(Math.min(...values) * 20) / 20);
  const high = Math.min(1, Math.ceil(Math.max(...values) * 20) / 20);
  const step = high - low > 0.5 ? 0.1 : 0.05;
  const ticks = Array.from(
    { length: Math.floor((high - low) / step + 1e-6) + 1 },
    (_, i) => low + i * step,
  );
  const span = HEIGHT - MARGIN.top - MARGIN.bottom;
  const scale = (value: number): number =>
    round(HEIGHT - MARGIN.bottom - (span * (value - low)) / Math.max(high - low, 0.05));
  return Object.assign(scale, { ticks });
}

function round(value: number): number {
  return Math.round(value * 10) / 10;
}
