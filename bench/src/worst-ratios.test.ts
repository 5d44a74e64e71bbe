import { expect, test } from "vitest";
import { worstRatios } from "./worst-ratios.ts";

test("of several suites' ratios the worst stands, and says whose it is; one that failed is the worst", () => {
  const suites = {
    mixed: {
      ratios: { endToEndOverLimit: 0.99, overBestPolicy: 1.2, repeatCost: 0.05, scaling16: NaN },
    },
    bimodal: { ratios: { endToEndOverLimit: 0.96, overBestPolicy: 1.3, scaling16: 0.9 } },
    repeat: { ratios: { repeatCost: 0.06 } },
  };
  expect(worstRatios(suites)).toEqual({
    ratios: { endToEndOverLimit: 0.96, overBestPolicy: 1.2, repeatCost: 0.06, scaling16: NaN },
    ratioSuites: {
      endToEndOverLimit: "bimodal",
      overBestPolicy: "mixed",
      repeatCost: "repeat",
      scaling16: "mixed",
    },
  });
});
