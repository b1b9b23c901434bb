"""Graph passes: small exact rewrites of patterns that the NPU compiler handles wrongly.

A pass changes a model in place and keeps its numbers: only the way they are computed changes. Each is listed with the
reason it exists, so that it can go when the reason does.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import onnx

_Shapes = dict[str, tuple[int, ...]]

#: Heights at which the compiler gets SiLU wrong; tried: 4 to 40.
_BROKEN_SILU_ROWS = range(9, 13)


@dataclass(frozen=True)
class GraphPass:
    """One rewrite.

    Args:
        name: What it does, as it appears in settings.
        reason: What goes wrong without it.
        apply: Changes the graph, given the static shapes of its tensors; says whether it changed anything.
        only_16bit: It is needed only where activations have 16 bits.
    """

    name: str
    reason: str
    apply: Callable[[onnx.GraphProto, _Shapes], bool]
    only_16bit: bool = False


def as_strided_to_reshape(graph: onnx.GraphProto, shapes: _Shapes) -> bool:
    """Reshape(x, [-1]) then Gather of every element in order is a Reshape of x, or x itself."""
    from onnx import helper, numpy_helper

    constants = {tensor.name: tensor for tensor in graph.initializer}
    producers = {output: node for node in graph.node for output in node.output}
    outputs = {output.name for output in graph.output}
    changed = False
    for node in list(graph.node):
        if node.op_type != "Gather" or node.input[1] not in constants or len(shapes.get(node.input[0], ())) != 1:
            continue
        indices = numpy_helper.to_array(constants[node.input[1]])
        if shapes[node.input[0]] != (indices.size,) or not np.array_equal(indices.ravel(), np.arange(indices.size)):
            continue
        flat = producers.get(node.input[0])
        source = flat.input[0] if flat is not None and flat.op_type == "Reshape" else node.input[0]
        if shapes.get(source) == indices.shape and node.output[0] not in outputs:
            _rewire(graph, node.output[0], source)
            graph.node.remove(node)
        else:
            shape = numpy_helper.from_array(np.array(indices.shape, np.int64), f"{node.output[0]}_shape")
            graph.initializer.append(shape)
            node.CopyFrom(helper.make_node("Reshape", [source, shape.name], list(node.output), node.name))
        changed = True
    return changed


def silu_by_tanh(graph: onnx.GraphProto, shapes: _Shapes) -> bool:
    """x * sigmoid(x) is h + h * tanh(h) with h = x / 2."""
    from onnx import helper, numpy_helper

    consumers = defaultdict(list)
    for node in _all_nodes(graph):
        for name in node.input:
            consumers[name].append(node)
    outputs = {output.name for output in graph.output}
    changed = False
    for sigmoid in list(graph.node):
        if sigmoid.op_type != "Sigmoid" or sigmoid.output[0] in outputs or len(consumers[sigmoid.output[0]]) != 1:
            continue
        x, (product,) = sigmoid.input[0], consumers[sigmoid.output[0]]
        shape = shapes.get(x, ())
        # Rows are axis 2 beside a convolution, which the compiler turns channel-last, and axis 1 elsewhere.
        if len(shape) != 4 or not any(shape[axis] in _BROKEN_SILU_ROWS for axis in (1, 2)):
            continue
        if product.op_type != "Mul" or set(product.input) != {x, sigmoid.output[0]}:
            continue
        y, at = product.output[0], list(graph.node).index(product)
        graph.initializer.append(numpy_helper.from_array(np.array(0.5, np.float32), f"{y}_half"))
        nodes = [
            helper.make_node("Mul", [x, f"{y}_half"], [f"{y}_h"], f"{y}_h"),
            helper.make_node("Tanh", [f"{y}_h"], [f"{y}_tanh"], f"{y}_tanh"),
            helper.make_node("Mul", [f"{y}_h", f"{y}_tanh"], [f"{y}_product"], f"{y}_product"),
            helper.make_node("Add", [f"{y}_h", f"{y}_product"], [y], f"{y}_sum"),
        ]
        graph.value_info.extend(
            helper.make_tensor_value_info(node.output[0], 1, shape) for node in nodes if node.output[0] != y
        )
        for index, node in enumerate(nodes):
            graph.node.insert(at + index, node)
        graph.node.remove(product)
        graph.node.remove(sigmoid)
        changed = True
    return changed


#: In this order.
PASSES = (
    GraphPass(
        "as_strided_to_reshape",
        "torch writes average pooling of a channel-last tensor with as_strided, as in ConvNeXt's head; onnxruntime-qnn "
        "2.7.0 reads past the end of a vector on it and aborts the process, in every precision",
        as_strided_to_reshape,
    ),
    GraphPass(
        "silu_by_tanh",
        "QAIRT 2.51 computes 16-bit SiLU on 9 to 12 rows wrongly and without an error: 2 to 8 dB from the host CPU, "
        "against about 80 dB at any other height; the Swish operator is wrong at more heights",
        silu_by_tanh,
        only_16bit=True,
    ),
)


def apply_passes(model: onnx.ModelProto, *, activations_16bit: bool) -> list[str]:
    """Apply every pass that a build needs, in place.

    Args:
        activations_16bit: Some activations will have 16 bits.

    Returns:
        Names of the passes that changed something.
    """
    changed = []
    for each in PASSES:
        if (activations_16bit or not each.only_16bit) and each.apply(model.graph, _static_shapes(model)):
            changed.append(each.name)
    if changed:
        _remove_unused(model.graph)
    return changed


def _static_shapes(model: onnx.ModelProto) -> _Shapes:
    from onnx import shape_inference

    known = {value.name for value in model.graph.value_info} | {value.name for value in model.graph.output}
    if any(output not in known for node in model.graph.node for output in node.output if output):
        model = shape_inference.infer_shapes(model)
    graph = model.graph
    shapes = {}
    for value in (*graph.input, *graph.value_info, *graph.output):
        sizes = value.type.tensor_type.shape.dim
        if value.type.tensor_type.HasField("shape") and all(size.HasField("dim_value") for size in sizes):
            shapes[value.name] = tuple(size.dim_value for size in sizes)
    return shapes


def _all_nodes(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    """The nodes of a graph and of the graphs inside them, which see its tensors by name."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                yield from _all_nodes(inner)


def _rewire(graph: onnx.GraphProto, old: str, new: str) -> None:
    for node in _all_nodes(graph):
        for index, name in enumerate(node.input):
            if name == old:
                node.input[index] = new


def _remove_unused(graph: onnx.GraphProto) -> None:
    outputs = {output.name for output in graph.output}
    while True:
        used = outputs | {name for node in _all_nodes(graph) for name in node.input}
        dead = [node for node in graph.node if not used.intersection(node.output)]
        if not dead:
            break
        for node in dead:
            graph.node.remove(node)
    for tensor in [tensor for tensor in graph.initializer if tensor.name not in used]:
        graph.initializer.remove(tensor)
    alive = used | {output for node in graph.node for output in node.output}
    for value in [value for value in graph.value_info if value.name not in alive]:
        graph.value_info.remove(value)
