import { getEventListeners } from "node:events";
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
