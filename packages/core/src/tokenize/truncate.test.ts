import * as fc from "fast-check";
import { expect, test } from "vitest";
import { truncatePair } from "./truncate.ts";

test.each([
  { query: 3, document: 4, room: 10, kept: [3, 4] },
  { query: 3, document: 9, room: 10, kept: [3, 7] },
  { query: 9, document: 3, room: 10, kept: [7, 3] },
  { query: 9, document: 9, room: 10, kept: [5, 5] },
  { query: 9, document: 9, room: 11, kept: [5, 6] },
  { query: 10, document: 9, room: 11, kept: [6, 5] },
  { query: 5, document: 20, room: 11, kept: [5, 6] },
  { query: 6, document: 20, room: 11, kept: [5, 6] },
])(
  "longest_first keeps $kept of $query + $document in $room",
  ({ query, document, room, kept }) => {
    const [keptQuery, keptDocument] = kept;
    expect(truncatePair(query, document, room, "longest_first")).toEqual({
      query: keptQuery,
      document: keptDocument,
    });
  },
);

test("longest_first fills the room, and cuts a side only once the other is no longer", () => {
  const length = fc.integer({ min: 1, max: 300 });
  fc.assert(
    fc.property(length, length, fc.integer({ min: 2, max: 200 }), (query, document, room) => {
      const kept = truncatePair(query, document, room, "longest_first")!;
      expect(kept.query + kept.document).toBe(Math.min(room, query + document));
      if (kept.query < query) expect(kept.query).toBeGreaterThanOrEqual(kept.document - 1);
      if (kept.document < document) expect(kept.document).toBeGreaterThanOrEqual(kept.query - 1);
    }),
  );
});

test("only_second cuts the document alone, and refuses a query that leaves no room", () => {
  expect(truncatePair(6, 20, 10, "only_second")).toEqual({ query: 6, document: 4 });
  expect(truncatePair(10, 20, 10, "only_second")).toBeUndefined();
});
