import { boxFolder } from "@rankfleet/worker";
import { type Command, Option } from "commander";
import { jsonObject, positive } from "../options.ts";
import { quantizeModel } from "./models/quantize.ts";
import { showModel } from "./models/show.ts";

export function configureModels(models: Command): void {
  models
    .command("show")
    .description("What a model folder is, and what was measured of it on this machine.")
    .argument("[folder]", "model folder", boxFolder())
    .option("--dtype <dtype>", "which of the folder's weights to load")
    .option("--device <device>", "cpu, cuda, webgpu … or auto", "auto")
    .option(
      "--device-options <json>",
      "ONNX Runtime's options of the device's provider, as for a worker",
      jsonObject,
    )
    .option("--threads <number>", "CPU threads for forward passes, at most one a core", positive)
    .option("--max-tokens <number>", "longest pair, as for a worker", positive)
    .option("--again", "measure again, whatever the cache has")
    .option("--json", "print JSON")
    .addHelpText("after", "\nExample:\n  rankfleet models show models/box --threads 2")
    .action(showModel);
  models
    .command("quantize")
    .description("Make an 8-bit file whose scores do not depend on what shares a batch.")
    .argument("<folder>", "model folder with fp32 weights")
    .requiredOption("--out <folder>", "where the new model folder goes")
    .addOption(
      new Option(
        "--method <method>",
        "static: int8 with fixed scales; weights: 8-bit weights alone",
      )
        .choices(["static", "weights"])
        .default("static"),
    )
    .option("--calibration <file>", "JSON lines of {query, documents} or {query, positive}")
    .option("--pairs <number>", "pairs of it to use", positive, 400)
    .option("--json", "print JSON")
    .addHelpText(
      "after",
      `
Static scales come from text of the kind that the model will see; a fifth of it is kept aside to compare
scores before and after.

Examples:
  rankfleet models quantize my-model --out my-model-int8 --calibration requests.jsonl
  rankfleet models quantize my-model --out my-model-w8 --method weights --calibration requests.jsonl`,
    )
    .action(quantizeModel);
}
