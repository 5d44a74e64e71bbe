import type { EventLoopWatch } from "./event-loop.ts";
import type { Metrics } from "./metrics.ts";

/** Fills the gauges that every process has: its memory and its event loop's lag. */
export function observeProcess(
  metrics: Pick<Metrics, "processMemory" | "eventLoopLag">,
  eventLoop: EventLoopWatch,
): void {
  metrics.eventLoopLag.observe(() => [{ value: eventLoop.lagSeconds(), labels: {} }]);
  metrics.processMemory.observe(() => {
    const memory = process.memoryUsage();
    return [
      { value: memory.rss, labels: { kind: "rss" } },
      { value: memory.heapUsed, labels: { kind: "heap_used" } },
      { value: memory.heapTotal, labels: { kind: "heap_total" } },
      { value: memory.external, labels: { kind: "external" } },
    ];
  });
}
