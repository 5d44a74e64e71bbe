import { expect, test } from "vitest";
import { TokenBudget } from "./token-budget.ts";

test("a failed batch halves the budget, hundreds of good ones bring it back, never beyond its limit", () => {
  const budget = new TokenBudget(4096);
  budget.failed(4000);
  expect(budget.tokens).toBe(2000);
  budget.failed(1000);
  expect(budget.tokens).toBe(500);
  for (let i = 0; i < 300; i++) budget.succeeded();
  expect(budget.tokens).toBeLessThan(1000);
  for (let i = 0; i < 2000; i++) budget.succeeded();
  expect(budget.tokens).toBe(4096);
});

test("it never falls to nothing", () => {
  const budget = new TokenBudget(64);
  for (let i = 0; i < 20; i++) budget.failed(budget.tokens);
  expect(budget.tokens).toBe(16);
});
