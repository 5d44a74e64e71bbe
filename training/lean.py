"""The same arithmetic in fewer steps: rewrites a model's file in place.

    python3 lean.py models/box/onnx/model_int8.onnx

A pass of few tokens takes as long as onnxruntime needs for its steps, a microsecond or more each, however little they do.
torch's exporter writes out every shape that a trace has touched, dimension by dimension. What is said here of the same thing
twice is said once, and what needs no saying is a constant. No number that the model computes changes.

It knows of the box that the first dimension of whatever is no shape is the batch.
"""

import argparse
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper

# Where an operator takes a shape, or places along one.
SHAPE_INPUTS = {"Reshape": [1], "Expand": [1], "Pad": [1], "Slice": [1, 2]}


@dataclass(frozen=True)
class Dimension:
    """How long a tensor is along an axis."""

    tensor: str
    axis: int


@dataclass(frozen=True)
class Computed:
    """A number that only a pass knows, as a tensor with one element."""

    tensor: str
    is_scalar: bool


class Graph:
    def __init__(self, model: onnx.ModelProto):
        self.proto = model.graph
        self.constants = {each.name: numpy_helper.to_array(each) for each in self.proto.initializer}
        kept = []
        for node in self.proto.node:
            if node.op_type == "Constant":
                self.constants[node.output[0]] = numpy_helper.to_array(node.attribute[0].t)
            else:
                kept.append(node)
        self.nodes: list[onnx.NodeProto] = kept
        self._count = 0

    @property
    def makers(self) -> dict[str, onnx.NodeProto]:
        return {name: node for node in self.nodes for name in node.output}

    def constant(self, values: list[int]) -> str:
        name = f"lean_{'_'.join(map(str, values)).replace('-', 'm')}"
        self.constants[name] = np.array(values, np.int64)
        return name

    def add(self, before: onnx.NodeProto, op_type: str, inputs: list[str], **attributes) -> str:
        """A new node in front of another; returns its output."""
        self._count += 1
        name = f"lean_{op_type}_{self._count}"
        self.nodes.insert(self.nodes.index(before), helper.make_node(op_type, inputs, [name], name=name, **attributes))
        return name

    def rename(self, old: str, new: str) -> None:
        for node in self.nodes:
            for place, name in enumerate(node.input):
                if name == old:
                    node.input[place] = new

    def write(self) -> None:
        used = {name for node in self.nodes for name in node.input}
        del self.proto.node[:], self.proto.initializer[:], self.proto.value_info[:]
        self.proto.node.extend(self.nodes)
        self.proto.initializer.extend(numpy_helper.from_array(np.array(value, order="C"), name) for name, value in self.constants.items() if name in used)


def attribute(node: onnx.NodeProto, name: str, default=None):
    return next((helper.get_attribute_value(each) for each in node.attribute if each.name == name), default)


class Shapes:
    """What tensors of whole numbers hold, element by element: ints, Dimensions and Computed. None: that is not known."""

    def __init__(self, graph: Graph):
        self.constants = graph.constants
        self.makers = graph.makers
        self.known: dict[str, np.ndarray | None] = {}

    def of(self, name: str) -> np.ndarray | None:
        if name not in self.known:
            self.known[name] = self._of(name)
        return self.known[name]

    def _of(self, name: str) -> np.ndarray | None:
        if name in self.constants:
            value = self.constants[name]
            is_shape = value.dtype in (np.int64, np.bool_) and value.ndim <= 2 and value.size <= 16
            return value.astype(object) if is_shape else None
        node = self.makers.get(name)
        if node is None:
            return None
        inputs = [self.of(each) if each else None for each in node.input]
        match node.op_type:
            case "Gather" if inputs[0] is None and self._is_shape_of(node.input[0]) and inputs[1] is not None and inputs[1].ndim == 0:
                return np.array(Dimension(self.makers[node.input[0]].input[0], int(inputs[1])), object)
            case "Slice" if inputs[0] is None and self._is_shape_of(node.input[0]):
                start, end = int(inputs[1][0]), int(inputs[2][0])
                return np.array([Dimension(self.makers[node.input[0]].input[0], axis) for axis in range(start, end)], object)
            case "ConstantOfShape" if inputs[0] is not None and all(isinstance(each, int) for each in inputs[0]):
                value = attribute(node, "value")
                return np.full(tuple(inputs[0]), 0 if value is None else numpy_helper.to_array(value).item(), object)
        if any(value is None for value in inputs):
            # Arithmetic on dimensions, which the pass has to do.
            return None
        match node.op_type:
            case "Shape":
                return np.array(inputs[0].shape, object)
            case "Gather":
                return np.array(inputs[0][inputs[1].astype(int)], object)
            case "Unsqueeze" if all(inputs[1] == 0):
                return inputs[0][np.newaxis]
            case "Concat":
                return np.concatenate(inputs, attribute(node, "axis"))
            case "Reshape":
                return inputs[0].reshape([int(each) for each in inputs[1]])
            case "Transpose":
                return inputs[0].transpose(attribute(node, "perm"))
            case "Cast":
                return inputs[0]
            case "Slice" if [int(each) for each in inputs[3]] == [0]:
                start, end, step = int(inputs[1][0]), int(inputs[2][0]), int(inputs[4][0]) if len(inputs) > 4 else 1
                return inputs[0][slice(start, None if end < -(2**31) else end, step)]
            case "Equal":
                # A dimension is never -1.
                return np.array([a == b for a, b in zip(*np.broadcast_arrays(*inputs))], object)
            case "Where":
                return np.where(inputs[0].astype(bool), inputs[1], inputs[2])
            case "Add" | "Sub" | "Mul" if all(isinstance(each, int) for value in inputs for each in value.flat):
                return np.array({"Add": np.add, "Sub": np.subtract, "Mul": np.multiply}[node.op_type](*inputs), object)
        if node.op_type in ("Add", "Sub", "Mul", "Div", "Mod"):
            ranks = [value.ndim for value in inputs]
            if all(value.size == 1 for value in inputs) and max(ranks) <= 1:
                return np.full((1,) * max(ranks), Computed(name, max(ranks) == 0), object)
        return None

    def _is_shape_of(self, name: str) -> bool:
        node = self.makers.get(name)
        return node is not None and node.op_type == "Shape"


def say_shapes_once(graph: Graph) -> None:
    """Every shape that is known in advance is a constant, and of the others only what is not known is computed."""
    shapes = Shapes(graph)
    for node in list(graph.nodes):
        for place in SHAPE_INPUTS.get(node.op_type, []):
            if place >= len(node.input) or node.input[place] in graph.constants:
                continue
            wanted = shapes.of(node.input[place])
            if wanted is None or wanted.ndim != 1:
                continue
            if node.op_type == "Reshape":
                wanted = relative(graph, node, list(wanted))
            if node.op_type == "Expand":
                # To expand by 1 is to leave as it is.
                wanted = [1 if each == -1 else each for each in wanted]
            node.input[place] = said(graph, node, list(wanted))


def relative(graph: Graph, node: onnx.NodeProto, wanted: list) -> list:
    """A Reshape's target with 0 for the batch and -1 for whatever else is not known."""
    if isinstance(wanted[0], Dimension) and wanted[0].axis == 0:
        wanted = [0, *wanted[1:]]
    if wanted[-1] == -1 and any(not isinstance(each, int) for each in wanted):
        wanted = [*wanted[:-1], width_for(graph, node.output[0]) or -1]
    wanted = [origin(graph, each) if isinstance(each, Dimension) else each for each in wanted]
    unknown = [place for place, each in enumerate(wanted) if not isinstance(each, int)]
    if len(unknown) != 1 or -1 in wanted:
        return wanted
    return [-1 if place in unknown else each for place, each in enumerate(wanted)]


def width_for(graph: Graph, name: str) -> int | None:
    """The length of a tensor's last axis, if a constant matrix is what it is multiplied by."""
    for node in graph.nodes:
        if name not in node.input:
            continue
        if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            return width_for(graph, node.output[0])
        if node.op_type == "MatMul" and node.input[0] == name:
            maker = graph.makers.get(node.input[1])
            matrix = maker.input[0] if maker is not None and maker.op_type == "DequantizeLinear" else node.input[1]
            return graph.constants[matrix].shape[0] if matrix in graph.constants else None
    return None


def origin(graph: Graph, dimension: Dimension) -> Dimension | int:
    """What is looked up in a table is as long as the ids are, and as wide as the table; padded along another axis it stays so."""
    makers, name = graph.makers, dimension.tensor
    alike = ["Mul", "Sub", "Round", "Cast", *(["Pad"] if dimension.axis == 2 else [])]
    while name in makers and makers[name].op_type in alike:
        name = makers[name].input[0]
    node = makers.get(name)
    if node is None or node.op_type != "Gather" or node.input[0] not in graph.constants:
        return dimension
    if dimension.axis == 2:
        return int(graph.constants[node.input[0]].shape[1])
    return Dimension(node.input[1], dimension.axis)


def measure_ids(graph: Graph) -> None:
    """Lengths are taken of the ids where they can be, so that equal ones look equal."""
    for node in list(graph.nodes):
        maker = graph.makers.get(node.input[0]) if node.op_type == "Gather" else None
        axis = graph.constants.get(node.input[1]) if maker is not None and maker.op_type == "Shape" else None
        if axis is None or axis.ndim > 0:
            continue
        source = origin(graph, Dimension(maker.input[0], int(axis)))
        if isinstance(source, Dimension) and source.tensor != maker.input[0]:
            node.input[0] = graph.add(node, "Shape", [source.tensor])


def said(graph: Graph, node: onnx.NodeProto, wanted: list) -> str:
    """A tensor that holds these elements."""
    pieces: list[str] = []
    numbers: list[int] = []
    for element in [*wanted, None]:
        if isinstance(element, int):
            numbers.append(element)
            continue
        if numbers:
            pieces.append(graph.constant(numbers))
        numbers = []
        if isinstance(element, Dimension):
            pieces.append(graph.add(node, "Shape", [element.tensor], start=element.axis, end=element.axis + 1))
        elif isinstance(element, Computed):
            vector = graph.add(node, "Unsqueeze", [element.tensor, graph.constant([0])]) if element.is_scalar else element.tensor
            pieces.append(vector)
    return pieces[0] if len(pieces) == 1 else graph.add(node, "Concat", pieces, axis=0)


def look_up_once(graph: Graph) -> None:
    """What is done to the first tokens of each row, and to all of them too, is done to all, and the first are taken."""
    slices = {node.output[0]: node for node in graph.nodes if node.op_type == "Slice"}
    done = {}
    for node in graph.nodes:
        done.setdefault(key(node), node)
    for node in list(graph.nodes):
        if node.op_type not in ("Gather", "Cast", "Mul", "Round", "Softplus", "Sub"):
            continue
        sliced = [(place, slices[name]) for place, name in enumerate(node.input) if name in slices]
        # Along the tokens, and all that is sliced alike.
        if not sliced or any(graph.constants.get(each.input[3], np.array([])).tolist() != [1] for _, each in sliced):
            continue
        if len({tuple(each.input[1:]) for _, each in sliced}) > 1 or any(name not in slices and name not in graph.constants for name in node.input):
            continue
        whole = onnx.NodeProto()
        whole.CopyFrom(node)
        for place, each in sliced:
            whole.input[place] = each.input[0]
        same = done.get(key(whole))
        if same is None:
            continue
        if graph.nodes.index(same) > graph.nodes.index(node):
            # Its inputs are there: those of the slice are, or have been moved before it.
            graph.nodes.remove(same)
            graph.nodes.insert(graph.nodes.index(node), same)
        taken = helper.make_node("Slice", [same.output[0], *sliced[0][1].input[1:]], list(node.output), name=node.name)
        graph.nodes[graph.nodes.index(node)] = taken
        slices[node.output[0]] = taken


def keep_axes(graph: Graph) -> None:
    """What is reduced along an axis that is put back at once keeps it."""
    for node in list(graph.nodes):
        reduced = graph.makers.get(node.input[0]) if node.op_type == "Unsqueeze" else None
        # Sums take their axes as an input, the largest as an attribute (opset 17).
        if reduced is None or reduced.op_type != "ReduceMax" or attribute(reduced, "keepdims", 1) == 1:
            continue
        if attribute(reduced, "axes") != graph.constants[node.input[1]].tolist() or sum(reduced.output[0] in each.input for each in graph.nodes) > 1:
            continue
        kept = helper.make_node("ReduceMax", list(reduced.input), list(node.output), name=reduced.name, axes=attribute(reduced, "axes"), keepdims=1)
        graph.nodes[graph.nodes.index(node)] = kept
        graph.nodes.remove(reduced)


def key(node: onnx.NodeProto):
    return node.op_type, tuple(node.input), tuple(sorted(each.SerializeToString() for each in node.attribute))


def merge(graph: Graph) -> None:
    """Equal constants are one, and so are equal nodes."""
    named: dict = {}
    for name, value in list(graph.constants.items()):
        if value.size <= 16:
            first = named.setdefault((value.dtype.str, value.shape, value.tobytes()), name)
            if first != name:
                graph.rename(name, first)
    first_of: dict = {}
    for node in list(graph.nodes):
        first = first_of.setdefault(key(node), node)
        if first is not node and len(node.output) == 1:
            graph.rename(node.output[0], first.output[0])
            graph.nodes.remove(node)


def drop_unused(graph: Graph) -> None:
    wanted = {each.name for each in graph.proto.output}
    for node in reversed(list(graph.nodes)):
        if not wanted.intersection(node.output):
            graph.nodes.remove(node)
        else:
            wanted.update(node.input)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("file", type=Path)
    file = arguments.parse_args().file
    model = onnx.load(str(file))
    graph = Graph(model)
    before = len(graph.nodes)
    measure_ids(graph)
    merge(graph)
    say_shapes_once(graph)
    drop_unused(graph)
    merge(graph)
    look_up_once(graph)
    keep_axes(graph)
    merge(graph)
    drop_unused(graph)
    graph.write()
    part = file.with_suffix(".part")
    onnx.save(model, str(part))
    os.replace(part, file)
    print(f"{file}: {before} steps → {len(graph.nodes)}")


if __name__ == "__main__":
    main()
