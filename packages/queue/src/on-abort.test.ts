import { getEventListeners } from "node:events";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { expect, test } from "vitest";
import { onAbort } from "./on-abort.ts";

test("any number share one listener, which goes with the last of them", () => {
  const { signal } = new AbortController();
  const stops = Array.from({ length: 20 }, () => onAbort(signal, () => {}));
  expect(getEventListeners(signal, "abort")).toHaveLength(1);
  for (const stop of stops) stop();
  expect(getEventListeners(signal, "abort")).toHaveLength(0);
  onAbort(signal, () => {});
  stops[0]!(); // Twice does no harm, also to those who came since.
  onAbort(signal, () => {});
  expect(getEventListeners(signal, "abort")).toHaveLength(1);
});

test("those that still listen hear of it, once, also who came after others had gone", () => {
  const controller = new AbortController();
  const heard: string[] = [];
  onAbort(controller.signal, () => heard.push("gone"))();
  onAbort(controller.signal, () => heard.push("here"));
  const stop = onAbort(controller.signal, () => stop());
  controller.abort();
  expect(heard).toEqual(["here"]);
});

test("what has gone is garbage of the young generation, however many come and go", () => {
  setFlagsFromString("--expose-gc");
  const collect = runInNewContext("gc") as (options?: { type: "minor" }) => void;
  const { signal } = new AbortController();
  const stops: (() => void)[] = [];
  const comeAndGo = (times: number): void => {
    for (let i = 0; i < times; i++) {
      const texts = Array.from({ length: 250 }, () => i);
      stops.push(onAbort(signal, () => texts.pop()));
      if (stops.length > 80) stops.shift()!();
      if (i % 500 === 0) collect({ type: "minor" });
    }
  };
  comeAndGo(1_000);
  collect(); // Who listens now is in the old generation.
  const before = process.memoryUsage().heapUsed;
  comeAndGo(20_000);
  collect({ type: "minor" });
  // 40 MB have come. With a Set for the listeners, nearly all of them stay until the old generation is collected.
  expect(process.memoryUsage().heapUsed - before).toBeLessThan(8e6);
});
