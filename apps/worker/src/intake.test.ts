import { expect, test } from "vitest";
import { Intake, type JobSize } from "./intake.ts";

const appetite = { tokensPerRound: 4000, tokensPerMs: 10, waitingTokens: 0 };

function after(jobs: number, job: JobSize, of = appetite): number {
  const intake = new Intake(of);
  for (let i = 0; i < jobs; i++) intake.after(job);
  return intake.jobs;
}

test("a worker that knows nothing yet takes a few jobs", () => {
  expect(new Intake(appetite).jobs).toBe(4);
});

test("three rounds of batches are in hand, whatever the jobs' size", () => {
  expect(after(1, { tokens: 1000, pairs: 10, characters: 4000 })).toBe(12);
  expect(after(1, { tokens: 100, pairs: 10, characters: 400 })).toBe(120);
  expect(after(1, { tokens: 1_000_000, pairs: 10, characters: 4_000_000 })).toBe(4);
});

test("a fast device has some milliseconds of work in hand, for that is what a fetch takes", () => {
  const fast = { ...appetite, tokensPerMs: 2000 };
  expect(after(1, { tokens: 5000, pairs: 10, characters: 20_000 }, fast)).toBe(180);
});

test("on a device that costs nothing the pairs are bounded", () => {
  const free = { ...appetite, tokensPerMs: 1e9 };
  expect(after(1, { tokens: 2500, pairs: 100, characters: 6400 }, free)).toBe(128);
  expect(after(1, { tokens: 100, pairs: 4, characters: 256 }, free)).toBe(512);
});

test("jobs of many megabytes are taken one at a time", () => {
  expect(after(1, { tokens: 50_000, pairs: 10, characters: 60_000_000 })).toBe(1);
});

test("it follows the jobs when they change", () => {
  const intake = new Intake(appetite);
  intake.after({ tokens: 10_000, pairs: 10, characters: 40_000 });
  expect(intake.jobs).toBe(4);
  for (let i = 0; i < 60; i++) intake.after({ tokens: 100, pairs: 10, characters: 400 });
  expect(intake.jobs).toBeGreaterThan(90);
});

test("jobs of which little still waits are more, but twice as many at most", () => {
  const job = { tokens: 100, pairs: 10, characters: 400 };
  const full = (waitingShare: number): number => {
    const of = { ...appetite, waitingTokens: 0 };
    const intake = new Intake(of);
    intake.after(job);
    let inHand = 0;
    for (let i = 0; i < 1000; i++) {
      for (; inHand < intake.jobs; inHand++) intake.begin(400);
      of.waitingTokens = waitingShare * inHand * job.tokens;
      intake.end(400);
      inHand--;
    }
    return intake.jobs;
  };
  expect(full(1)).toBe(120);
  expect(full(0.8)).toBe(150);
  expect(full(0.1)).toBe(240);
});

test("large jobs after thousands of tiny ones are bounded as they come", () => {
  const intake = new Intake(appetite);
  for (let i = 0; i < 1600; i++) {
    intake.begin(400);
    intake.after({ tokens: 100, pairs: 10, characters: 400 });
    intake.end(400);
  }
  let inHand = 0;
  while (inHand < intake.jobs) {
    intake.begin(4_000_000);
    inHand++;
  }
  // 64 Mi characters, and at most one job more.
  expect(inHand).toBeGreaterThan(10);
  expect(inHand).toBeLessThanOrEqual(17);
  intake.end(4_000_000);
  expect(intake.jobs).toBeGreaterThanOrEqual(inHand - 1);
});
