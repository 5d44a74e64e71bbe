import { expect, test } from "vitest";
import { LEAST_WORDS, MOST_WORDS, requestsOf, WORKLOADS } from "./workloads.ts";

const words = (text: string): number => text.split(" ").length;

test.each(Object.values(WORKLOADS))("$name: the same pairs each time, no two alike", (workload) => {
  const requests = requestsOf(workload, 2000);
  expect(requests).toEqual(requestsOf(workload, 2000));
  const pairs = requests.flatMap(({ query, documents }) =>
    documents.map((text) => `${query}|${text}`),
  );
  expect(pairs.length).toBeGreaterThanOrEqual(2000);
  expect(new Set(pairs).size).toBe(pairs.length);
  expect(requests[0]!.documents).toHaveLength(workload.documentsPerRequest);
});

test("mixed lengths are log-normal between their bounds", () => {
  const lengths = requestsOf(WORKLOADS["mixed"]!, 5000)
    .flatMap(({ documents }) => documents.map(words))
    .toSorted((a, b) => a - b);
  expect(lengths[0]).toBeGreaterThanOrEqual(LEAST_WORDS);
  expect(lengths.at(-1)).toBeLessThanOrEqual(MOST_WORDS);
  expect(lengths[2500]).toBeGreaterThan(55);
  expect(lengths[2500]).toBeLessThan(65);
  // One standard deviation above the median: 60 · e^0.8.
  expect(lengths[Math.round(0.8413 * 5000)]).toBeGreaterThan(120);
  expect(lengths[Math.round(0.8413 * 5000)]).toBeLessThan(147);
});
