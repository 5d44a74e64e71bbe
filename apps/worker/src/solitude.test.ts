import { setTimeout as sleep } from "node:timers/promises";
import { expect, test } from "vitest";
import { Solitude } from "./solitude.ts";

test("who is alone has nobody beside it, whoever came before or comes meanwhile", async () => {
  const solitude = new Solitude();
  const inside = new Set<string>();
  const company: Record<string, string[]> = {};
  const step = (name: string) => async (): Promise<void> => {
    inside.add(name);
    company[name] = [...inside];
    await sleep(5);
    company[name] = [...new Set([...company[name], ...inside])];
    inside.delete(name);
  };
  await Promise.all([
    solitude.together(step("a")),
    solitude.together(step("b")),
    solitude.alone(step("suspect 1")),
    solitude.together(step("c")),
    solitude.alone(step("suspect 2")),
    solitude.together(step("d")),
  ]);
  expect(company["suspect 1"]).toEqual(["suspect 1"]);
  expect(company["suspect 2"]).toEqual(["suspect 2"]);
  expect(company["a"]).toContain("b");
  expect(company["c"]).toContain("d");
});

test("a step that throws lets the next one in", async () => {
  const solitude = new Solitude();
  const broken = (): Promise<never> => Promise.reject(new Error("broken"));
  await expect(solitude.alone(broken)).rejects.toThrow("broken");
  await expect(solitude.together(broken)).rejects.toThrow("broken");
  expect(await solitude.alone(() => Promise.resolve(1))).toBe(1);
  expect(await solitude.together(() => Promise.resolve(2))).toBe(2);
});
