import { readFile, writeFile } from "node:fs/promises";
import { CoreError } from "@rankfleet/core";
import protobuf from "protobufjs";
import { ONNX_SCHEMA } from "./onnx-schema.ts";

/** An ONNX model as plain objects; names are the schema's. Only what the quantisers touch is typed. */
export interface OnnxModel {
  readonly graph: OnnxGraph;
  readonly ir_version?: Integer;
  readonly opset_import: { domain?: string; version: Integer }[];
}

export interface OnnxGraph {
  readonly name?: string;
  node: OnnxNode[];
  initializer: OnnxTensor[];
  input: readonly { readonly name: string }[];
  output: { name: string; type?: object }[];
}

export interface OnnxNode {
  input: string[];
  output: string[];
  readonly op_type: string;
  readonly name?: string;
  readonly domain?: string;
  readonly attribute?: readonly OnnxAttribute[];
}

export interface OnnxAttribute {
  readonly name: string;
  /** 1 float, 2 integer, 7 integers. */
  readonly type: number;
  readonly ints?: readonly Integer[];
  readonly i?: Integer;
  readonly f?: number;
  /** Branches and loop bodies. */
  readonly g?: OnnxGraph | null;
  readonly graphs?: readonly OnnxGraph[];
}

export interface OnnxTensor {
  readonly name: string;
  readonly dims: readonly Integer[];
  readonly data_type: number;
  readonly raw_data?: Uint8Array;
  readonly float_data?: readonly number[];
  readonly data_location?: number;
}

/** protobufjs gives 64-bit integers as its Long; `Number()` reads both. */
export type Integer = number | { toNumber(): number };

const schema: protobuf.Type = protobuf
  .parse(ONNX_SCHEMA, { keepCase: true })
  .root.lookupType("onnx.ModelProto");

/** @throws CoreError `model_folder_invalid` if it is no ONNX file, or keeps its weights in another one. */
export async function readModel(file: string): Promise<OnnxModel> {
  let model: OnnxModel;
  try {
    model = schema.decode(await readFile(file)) as unknown as OnnxModel;
  } catch (cause) {
    throw invalid(`${file} cannot be read as an ONNX model`, cause);
  }
  if (!model.graph?.node?.length) throw invalid(`${file} holds no graph`);
  if (model.graph.initializer.some((tensor) => tensor.data_location === EXTERNAL)) {
    throw invalid(`${file} keeps its weights beside it; only single files of up to 2 GB are read`);
  }
  return model;
}

export async function writeModel(file: string, model: OnnxModel): Promise<void> {
  await writeFile(file, schema.encode(model).finish());
}

const EXTERNAL = 1;

function invalid(message: string, cause?: unknown): CoreError {
  return new CoreError("model_folder_invalid", message, { field: "model", cause });
}
