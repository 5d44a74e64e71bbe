import type { RerankClient, RerankRequest, RerankResult } from "@rankfleet/sdk";
import { afterAll, beforeAll, expect, test } from "vitest";
import { TestFleet } from "./support/fleet.ts";
import { simulatedFolder } from "./support/simulated.ts";
import { passages, requests } from "./support/texts.ts";

/** Idempotency keys of jobs that are made again, that are shared, and that end in odd moments. */
const slow = simulatedFolder({ pairs_per_second: 500 });

let fleet: TestFleet;
let client: RerankClient;
beforeAll(async () => {
  fleet = await TestFleet.start();
  await fleet.worker({ RANKFLEET_MODEL: `box,sim=${slow},other=${slow}` });
  client = fleet.client({ model: "sim" });
});
afterAll(() => fleet.stop());

const logits = ({ results }: RerankResult): (number | undefined)[] =>
  results
    .toSorted((a, b) => a.index - b.index)
    .map((each) => (each.error === undefined ? each.logit : undefined));

/** Enough for several parts. */
const large = (query: string): RerankRequest => ({
  query,
  model: "box",
  documents: Array.from({ length: 300 }, (_, i) => `${i} ${passages[i % passages.length]!}`),
});

test("one key for two models is two jobs, each with its own result", async () => {
  const [request] = requests(1, 20);
  const results = await Promise.all(
    ["box", "other"].map((model) =>
      client.rerank({ ...request!, model, idempotencyKey: "for both" }),
    ),
  );
  expect(results.map(({ model }) => model)).toEqual(["box", "other"]);
});

test("a large job that was cancelled in the middle is made again for another request, and gets that one's scores", async () => {
  const wanted = await client.rerank(large("which fish live in cold water"));
  for (let round = 0; round < 3; round++) {
    const key = { idempotencyKey: `large ${round}` };
    const first = await client.enqueue({ ...large(`how do I bake bread, ${round}`), ...key });
    await expect.poll(() => first.status(), { interval: 5 }).toBe("active");
    expect(await first.cancel()).toBe(true);
    const again = await client.rerank({ ...large("which fish live in cold water"), ...key });
    expect(logits(again)).toEqual(logits(wanted));
  }
});

test("of two that make a cancelled job again at once with other requests, one is the job and keeps it", async () => {
  const [first, second, third] = requests(3, 20);
  for (let round = 0; round < 5; round++) {
    const key = { idempotencyKey: `race ${round}` };
    const job = await client.enqueue({ ...first!, ...key });
    await job.cancel();
    const made = await Promise.allSettled(
      [second!, third!].map((request) =>
        fleet.client({ model: "sim" }).enqueue({ ...request, ...key }),
      ),
    );
    const accepted = made.flatMap((each) => (each.status === "fulfilled" ? [each.value] : []));
    const refused = made.flatMap((each) => (each.status === "rejected" ? [each.reason] : []));
    expect(accepted).toHaveLength(1);
    expect(refused).toMatchObject([{ code: "idempotency_conflict" }]);
    expect((await accepted[0]!.result()).results).toHaveLength(20);
  }
});
