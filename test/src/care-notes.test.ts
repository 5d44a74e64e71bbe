import { CareNotes, LeaseLost } from "@rankfleet/queue";
import { keysFor } from "@rankfleet/queue/contract";
import { expect, test } from "vitest";
import { emptyRedis } from "./support/empty-redis.ts";

/** What attempts at a job that kills leave for each other, as they die, are cut off and come back. */
const empty = emptyRedis();

const keys = keysFor();
const queue = keys.model("m").queue("standard");
const key = keys.model("m").suspects("job");

/** The attempt that holds the lease from now on. */
async function attempt(token: string): Promise<CareNotes<string>> {
  await empty.redis.set(keys.model("m").lock(queue, "job"), token);
  return new CareNotes<string>(
    { redis: empty.redis, keys, model: "m" },
    { jobId: "job", queue, token },
  );
}

/** A step that lasts until it is ended. */
function step(): { take: () => Promise<void>; end: () => void } {
  let end = (): void => {};
  const ended = new Promise<void>((resolve) => (end = resolve));
  return { take: () => ended, end: () => end() };
}

test("what was found stays for the next attempt, and what was being tried when one died", async () => {
  const first = await attempt("first");
  expect(await first.read("r1")).toEqual({ outcomes: new Map(), left: [], deathsAtTexts: 0 });
  await first.tries("texts", () => "read");
  await first.tries({ from: 0, to: 2 }, () => first.keep(0, ["a", "b"]));
  const dying = step();
  void first.tries({ from: 2, to: 18 }, dying.take);
  const known = { outcomes: new Map(Object.entries(["a", "b"]).map(([i, o]) => [Number(i), o])) };
  const second = await attempt("second");
  await expect
    .poll(() => second.read("r1"))
    .toEqual({ ...known, left: [{ from: 2, to: 18 }], deathsAtTexts: 0 });
  await second.forget();
  expect(await empty.redis.exists(key)).toBe(0);
});

test("an attempt that was cut off takes its own mark away, not that of who has the job now", async () => {
  const cutOff = await attempt("cut off");
  await cutOff.read("r1");
  const slow = step();
  const tried = cutOff.tries({ from: 0, to: 16 }, async () => {
    await slow.take();
    await cutOff.keep(0, ["late"]);
  });
  const holder = await attempt("holder");
  await expect.poll(async () => (await holder.read("r1")).left).toEqual([{ from: 0, to: 16 }]);
  void holder.tries({ from: 3, to: 4 }, step().take);
  await expect.poll(async () => (await holder.read("r1")).left).toHaveLength(2);
  slow.end();
  await expect(tried).rejects.toThrow(LeaseLost);
  const known = await (await attempt("next")).read("r1");
  expect(known).toEqual({ outcomes: new Map(), left: [{ from: 3, to: 4 }], deathsAtTexts: 0 });
});

test("without the lease nothing is tried, kept or forgotten", async () => {
  const late = await attempt("late");
  await late.read("r1");
  const holder = await attempt("holder");
  await holder.keep(0, ["kept"]);
  await expect(late.tries({ from: 1, to: 2 }, () => {})).rejects.toThrow(LeaseLost);
  await expect(late.keep(0, ["late"])).rejects.toThrow(LeaseLost);
  await expect(late.read("r2")).rejects.toThrow(LeaseLost);
  await late.forget();
  expect((await holder.read("r1")).outcomes).toEqual(new Map([[0, "kept"]]));
  await holder.forget();
  await expect(late.keep(0, ["late"])).rejects.toThrow(LeaseLost);
  expect(await empty.redis.exists(key)).toBe(0);
});

test("another revision begins anew; deaths over the texts are counted; a mark stays where the process is dying", async () => {
  for (const token of ["first", "second"]) {
    const notes = await attempt(token);
    await notes.read("r1");
    const dead = notes.tries(
      "texts",
      () => {
        throw new Error("crash");
      },
      () => true,
    );
    await expect(dead).rejects.toThrow("crash");
  }
  const third = await attempt("third");
  expect(await third.read("r1")).toMatchObject({ deathsAtTexts: 2 });
  expect(await third.read("r2")).toMatchObject({ deathsAtTexts: 0, left: [] });
  expect(await empty.redis.pttl(key)).toBeGreaterThan(0);
});
