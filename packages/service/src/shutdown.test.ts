import { EventEmitter } from "node:events";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { type Drain, onShutdown, type ShutdownRequest } from "./shutdown.ts";

class FakeProcess extends EventEmitter {
  readonly exits: number[] = [];
  exit(code: number): void {
    this.exits.push(code);
  }
}

const GRACE_MS = 10_000;
const settled = (): Promise<unknown> => vi.advanceTimersByTimeAsync(0);

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

function start(drain: Drain) {
  const host = new FakeProcess();
  const logged: string[] = [];
  const note = (...parts: unknown[]): void => void logged.push(String(parts.at(-1)));
  const stop = onShutdown(drain, {
    graceMs: GRACE_MS,
    log: { info: note, warn: note, error: note, fatal: note },
    process: host,
  });
  return { host, logged, stop };
}

/** A drain that runs until the test, or its deadline, ends it. */
function openDrain() {
  const requests: ShutdownRequest[] = [];
  let finish = (): void => {};
  const drain: Drain = (request) => {
    requests.push(request);
    return new Promise<void>((resolve) => {
      finish = resolve;
      request.deadline.addEventListener("abort", () => resolve());
    });
  };
  return { drain, requests, finish: () => finish() };
}

test("a signal drains once, then the process exits with 0", async () => {
  const { drain, requests, finish } = openDrain();
  const { host } = start(drain);
  host.emit("SIGTERM");
  await settled();
  expect(requests.map(({ reason }) => reason)).toEqual(["SIGTERM"]);
  expect(host.exits).toEqual([]);
  finish();
  await settled();
  expect(host.exits).toEqual([0]);
  await vi.advanceTimersByTimeAsync(GRACE_MS);
  expect(host.exits).toEqual([0]);
});

describe("force", () => {
  test("a second signal aborts the deadline; what gives its work back exits with 0", async () => {
    const { drain, requests } = openDrain();
    const { host } = start(drain);
    host.emit("SIGTERM");
    host.emit("SIGINT");
    expect(requests[0]?.deadline.aborted).toBe(true);
    await settled();
    expect(requests).toHaveLength(1);
    expect(host.exits).toEqual([0]);
  });

  test("the end of the grace period aborts the deadline", async () => {
    const { drain, requests } = openDrain();
    const { host } = start(drain);
    host.emit("SIGINT");
    await vi.advanceTimersByTimeAsync(GRACE_MS - 1);
    expect(requests[0]?.deadline.aborted).toBe(false);
    await vi.advanceTimersByTimeAsync(1);
    expect(requests[0]?.deadline.aborted).toBe(true);
    expect(host.exits).toEqual([0]);
  });

  test("a drain that ignores its deadline is left behind after a last call", async () => {
    const { host } = start(() => new Promise(() => {}));
    host.emit("SIGTERM");
    host.emit("SIGTERM");
    await vi.advanceTimersByTimeAsync(1_999);
    expect(host.exits).toEqual([]);
    await vi.advanceTimersByTimeAsync(1);
    expect(host.exits).toEqual([128 + 15]);
  });

  test("a third signal exits at once", () => {
    const { host } = start(() => new Promise(() => {}));
    for (let i = 0; i < 3; i++) host.emit("SIGINT");
    expect(host.exits).toEqual([128 + 2]);
  });
});

test("a drain that fails is logged and exits with 1", async () => {
  const { host, logged } = start(() => Promise.reject(new Error("Redis is gone")));
  host.emit("SIGTERM");
  await settled();
  expect(host.exits).toEqual([1]);
  expect(logged).toContain("shutdown failed");
});

test.each(["uncaughtException", "unhandledRejection"])("%s is logged and exits with 1", (event) => {
  const { drain, requests } = openDrain();
  const { host, logged } = start(drain);
  host.emit(event, new Error("bug"));
  expect(host.exits).toEqual([1]);
  expect(logged).toHaveLength(1);
  expect(requests).toEqual([]);
});

test("the returned function stops listening", () => {
  const { host, stop } = start(async () => {});
  expect(host.eventNames()).toHaveLength(4);
  stop();
  expect(host.eventNames()).toEqual([]);
});
