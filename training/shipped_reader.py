"""The reader of the shipped model as a checkpoint, so that all steps but its training can be repeated without a GPU.

    python3 shipped_reader.py --out /tmp/rankfleet-reader.pt

Its numbers are those of the file, rounded as they are there. Rounded once more they stay the same: what is largest in a row or
column sets its scale, and is a whole number of it already.
"""

import argparse
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import numpy_helper

from reader import Reader

MODEL = Path(__file__).parent.parent / "models" / "box" / "onnx" / "model_int8.onnx"


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--out", required=True)
    options = arguments.parse_args()
    graph = onnx.load(str(MODEL)).graph
    reader = Reader(stored(graph, "reader.stored.rows").shape[0])
    with torch.no_grad():
        for name, values in numbers_of(graph, reader).items():
            reader.get_parameter(name).copy_(torch.from_numpy(values.copy()))
    torch.save({"state": reader.state_dict(), "steps": (0, 0)}, options.out)
    print(f"{options.out}: the reader of {MODEL}")


def numbers_of(graph: onnx.GraphProto, reader: Reader) -> dict[str, np.ndarray]:
    """All of the reader's parameters by their names. What the exporter has renamed is told by the nodes that use it."""
    both = stored(graph, "reader.stored.rows").astype(np.float32)
    high = np.round(both / 16)
    levels = np.concatenate([both - 16 * high, high], axis=1)
    first = input_of(graph, "/reader/Add")
    numbers = {
        "vectors": levels * stored(graph, "reader.stored.scale"),
        "types": np.stack([first, first + input_of(graph, "/reader/Mul")]),
        "across": input_of(graph, "/reader/Where").reshape(-1),
        "norm": input_of(graph, "/reader/LayerNormalization"),
        "join": matrix(graph, "/reader/MatMul_1"),
        "hidden.weight": rounded(graph, "reader.hidden.weight", axis=0),
    }
    for name in ["marks", "distances", "hidden.bias", "last.weight", "last.bias", "coverage"]:
        numbers[name] = stored(graph, f"reader.{name}")
    for number in range(len(reader.layers)):
        place = f"/reader/layers.{number}"
        for name, node in {"query": "", "key_value": "_1", "out": "_4", "up": "_5", "down": "_6"}.items():
            numbers[f"layers.{number}.{name}"] = matrix(graph, f"{place}/MatMul{node}")
        # In the order in which they are computed; `norms` has the second one's scale before those of query and key.
        for index, node in enumerate(["", "_3", "_1", "_2"]):
            numbers[f"layers.{number}.norms.{index}"] = input_of(graph, f"{place}/LayerNormalization{node}")
    missing = {name for name, _ in reader.named_parameters()} ^ numbers.keys()
    if missing:
        raise SystemExit(f"{MODEL} is not of this reader: {', '.join(sorted(missing))}")
    return numbers


def stored(graph: onnx.GraphProto, name: str) -> np.ndarray:
    for tensor in graph.initializer:
        if tensor.name == name:
            return numpy_helper.to_array(tensor)
    raise SystemExit(f"{MODEL} has no {name}")


def input_of(graph: onnx.GraphProto, node: str) -> np.ndarray:
    """The one tensor that the node is given by the file, not by another node."""
    names = {tensor.name for tensor in graph.initializer}
    for each in graph.node:
        if each.name == node:
            return stored(graph, next(name for name in each.input if name in names))
    raise SystemExit(f"{MODEL} has no {node}")


def matrix(graph: onnx.GraphProto, node: str) -> np.ndarray:
    """Of a MatMul on int8 weights with a scale for each column, [rows of output, columns of input] as in torch."""
    weights = {name: each for each in graph.node for name in each.output}
    for each in graph.node:
        if each.name == node:
            return rounded(graph, weights[each.input[1]].input[0].removesuffix("_int8")).T
    raise SystemExit(f"{MODEL} has no {node}")


def rounded(graph: onnx.GraphProto, name: str, axis: int = 1) -> np.ndarray:
    """As the file has it. `axis`: that of the outputs, each of which has a scale."""
    levels = stored(graph, f"{name}_int8").astype(np.float32)
    return levels * np.expand_dims(stored(graph, f"{name}_scale"), 1 - axis)


if __name__ == "__main__":
    main()
