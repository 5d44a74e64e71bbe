import { CostModel, predictMs, Reranker } from "@rankfleet/core";
import { calibrationFolder } from "@rankfleet/worker";
import { table } from "../../print.ts";

interface ShowFlags {
  readonly dtype?: string;
  readonly device: string;
  readonly deviceOptions?: Record<string, unknown>;
  readonly threads?: number;
  readonly maxTokens?: number;
  readonly again?: boolean;
  readonly json?: boolean;
}

/** `rankfleet models show` */
export async function showModel(folder: string, flags: ShowFlags): Promise<void> {
  const reranker = await Reranker.load(folder, {
    dtype: flags.dtype,
    device: flags.device,
    deviceOptions: flags.deviceOptions,
    threads: flags.threads,
    maxTokens: flags.maxTokens,
    calibrationFolder: calibrationFolder(),
    isRecalibrating: flags.again,
  });
  try {
    const { facts, devices, calibration, deviation, deviatesBy, maxBatchTokens } = reranker;
    const [device] = devices;
    const { cost } = new CostModel(calibration!.samples);
    const { split, kneeTokens, maxSquares, bytesPerToken, measuredAt, samples } = calibration!;
    const best = (length: number): number => {
      const tokens = Math.min(maxBatchTokens, (maxSquares ?? Infinity) / length);
      const rows = Math.max(1, Math.floor(tokens / length));
      return (1000 * devices.length * rows) / predictMs(cost, rows, length);
    };
    const lengths = [32, 128, 512].filter((length) => length <= facts.maxTokens);
    const pairsPerSecond = Object.fromEntries(
      lengths.map((length) => [length, Math.round(best(length))]),
    );
    if (flags.json) {
      const report = {
        folder,
        ...facts,
        batchDeviation: deviation,
        deviatesBy,
        device: device!.name,
        runtime: device!.runtime,
        calibration: {
          split,
          kneeTokens,
          maxBatchTokens,
          maxSquares,
          cost,
          bytesPerToken,
          measuredAt,
          samples,
        },
        pairsPerSecond,
      };
      process.stdout.write(`${JSON.stringify(report)}\n`);
      return;
    }
    const invariance = facts.batchInvariant
      ? `yes (company changes a logit by ${deviation === 0 ? "nothing" : `${deviation.toExponential(0)}, the rounding of sums`})`
      : deviatesBy === "shape"
        ? `no: the batch's shape changes a logit by up to ${deviation.toPrecision(2)} on this device, what else is in it by nothing`
        : `no: company changes a logit by up to ${deviation.toPrecision(2)}; see rankfleet models quantize`;
    const lines: [string, string | number][] = [
      ["family", facts.family],
      ["revision", facts.revision],
      ["dtype", facts.dtype],
      ["longest pair", `${facts.maxTokens} tokens`],
      ["batch invariant", invariance],
      ["device", `${device!.name} (${device!.runtime})`],
      ["sessions × threads", `${split.sessions} × ${split.intraOpThreads}`],
      [
        "knee",
        `${kneeTokens} padded tokens at 95 % of the best speed; batches of ${maxBatchTokens}`,
      ],
      [
        "cost of a batch",
        `${cost.fixed.toPrecision(2)} ms + ${(1000 * cost.perToken).toPrecision(2)} µs · rows · length + ${(1e6 * cost.perSquare).toPrecision(2)} ns · rows · length²`,
      ],
      ["memory", `${Math.round(bytesPerToken / 1024)} KiB a token of the largest batch`],
      ...lengths.map((length): [string, string] => [
        `pairs/s at ${length} tokens`,
        String(pairsPerSecond[length]),
      ]),
      ["measured", measuredAt],
    ];
    process.stdout.write(`${table([folder, ""], lines)}\n`);
  } finally {
    await reranker.close();
  }
}
