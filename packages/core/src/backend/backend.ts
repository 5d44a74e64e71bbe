/** Runs a graph on a device. Knows tensors; knows nothing of text, pairs or scores. */
export interface Backend {
  readonly facts: BackendFacts;
  /**
   * One forward pass. Blocks its thread until it is done, so it belongs in a worker thread.
   *
   * @throws if the runtime does; the message is the runtime's own.
   */
  run(feeds: Readonly<Record<string, Tensor>>): Promise<Readonly<Record<string, Tensor>>>;
  close(): Promise<void>;
}

export interface BackendFacts {
  /** What really runs the graph, e.g. `cpu` or `cuda:0`. */
  readonly device: string;
  readonly runtime: string;
  /** The graph's input and output names, in its own order. */
  readonly inputs: readonly string[];
  readonly outputs: readonly string[];
}

export type Tensor =
  | { readonly type: "int64"; readonly data: BigInt64Array; readonly dims: readonly number[] }
  | { readonly type: "float32"; readonly data: Float32Array; readonly dims: readonly number[] };

export interface BackendOptions {
  /** `cpu`, `cuda`, `cuda:1`, `tensorrt`, `webgpu`, `coreml`, `directml`; `auto` takes CUDA if it loads, else the CPU. */
  readonly device: string;
  /** Threads that one forward pass may use on the CPU. */
  readonly intraOpThreads: number;
  /** Options for ONNX Runtime's execution provider of the device, passed through. */
  readonly deviceOptions?: Readonly<Record<string, unknown>> | undefined;
}
