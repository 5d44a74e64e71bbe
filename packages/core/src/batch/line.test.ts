import * as fc from "fast-check";
import { expect, test } from "vitest";
import { Line } from "./line.ts";

interface Waiting {
  readonly since: number;
  readonly deadline: number | undefined;
  isGone: boolean;
  isAbandoned(): boolean;
}

const step = fc.record({
  deadlines: fc.array(fc.option(fc.integer({ min: 0, max: 99 }), { nil: undefined }), {
    maxLength: 20,
  }),
  share: fc.double({ min: 0, max: 1, noNaN: true }),
  until: fc.constantFrom(-Infinity, -Infinity, 30, 99),
  isDropping: fc.boolean(),
});

test("a line is what a sorted list would be, whoever comes, goes or gives up", () => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      const line = new Line<Waiting>();
      let list: Waiting[] = [];
      for (const [since, { deadlines, share, until, isDropping }] of steps.entries()) {
        for (const deadline of deadlines) {
          const pair = { since, deadline, isGone: false, isAbandoned: () => pair.isGone };
          line.add(pair, since);
          list.push(pair);
        }
        if (isDropping) {
          for (const [i, pair] of list.entries()) pair.isGone = i % 3 === 1;
          expect(line.dropAbandoned()).toEqual(list.filter((pair) => pair.isGone));
          list = list.filter((pair) => !pair.isGone);
        }
        const rows = Math.floor(share * list.length);
        const taken: Waiting[] = [];
        line.moveTo(taken, rows, until);
        const pressing = list
          .flatMap(({ deadline = Infinity }) => (deadline <= until ? [deadline] : []))
          .toSorted((a, b) => a - b)
          .slice(0, rows);
        expect(taken.slice(0, pressing.length).map(({ deadline }) => deadline)).toEqual(pressing);
        list = list.filter((pair) => !taken.slice(0, pressing.length).includes(pair));
        expect(taken.slice(pressing.length)).toEqual(list.splice(0, rows - pressing.length));
        expect(line.size).toBe(list.length);
        expect(line.nearestDeadline).toBe(
          Math.min(...list.map(({ deadline = Infinity }) => deadline)),
        );
        if (list.length > 0) expect(line.oldestSince).toBe(list[0]!.since);
      }
    }),
  );
});
