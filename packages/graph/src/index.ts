export { calibrateActivations, type CalibrationRequest } from "./calibrate-activations.ts";
export {
  readModel,
  writeModel,
  type OnnxModel,
  type OnnxNode,
  type OnnxTensor,
} from "./model-file.ts";
export { quantizeStatic, type Range } from "./quantize-static.ts";
export { quantizeWeights } from "./quantize-weights.ts";
export { tensorOf } from "./tensor.ts";
