"""Rewrites of Clip and Relu; why is said where the passes are listed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from model_zoo.toolchains.local.bounds import RECTIFIERS, Bounds, node_bounds
from model_zoo.toolchains.local.onnx_graph import DATA_MOVEMENT, readers_of

if TYPE_CHECKING:
    import onnx

    from model_zoo.toolchains.local.passes import Tensors

#: A bound this near to 0 only keeps a divisor from 0; it stays a Clip's, where patterns of normalization look for it.
_NEGLIGIBLE = 1e-6
_LARGEST = float(np.finfo(np.float32).max)

Steps = list[tuple[str, list[str]]]


def rectify_by_max_and_min(graph: onnx.GraphProto, tensors: Tensors) -> bool:
    """Max and Min cut off what the range in front of a Clip or Relu would not."""
    from onnx import TensorProto

    constants = {tensor.name: tensor for tensor in graph.initializer}
    readers = readers_of(graph)
    producers = {name: node for node in graph.node for name in node.output}
    outputs = {output.name for output in graph.output}
    changed = False
    for node in [node for node in graph.node if node.op_type in RECTIFIERS]:
        x, y = node.input[0], node.output[0]
        if x in constants or x not in tensors or tensors[x].elem_type != TensorProto.FLOAT:
            continue
        bounds, before = node_bounds(node, constants), producers[x].op_type if x in producers else ""
        own = x in producers and len(readers[x]) == 1 and x not in outputs
        if node.op_type == "Relu":
            steps = _cuts(graph, y, (0.0, np.inf)) if before in DATA_MOVEMENT and _reaches_concat(y, readers) else []
        elif bounds is None:
            steps = [(op, [name]) for op, name in zip(("Max", "Min"), node.input[1:], strict=False) if name]
        elif own and not _reaches_concat(y, readers):
            steps = _beyond_zero(graph, y, bounds)
        else:
            steps = _cuts(graph, y, bounds)
        if steps:
            _replace(graph, tensors, node, steps)
            changed = True
    return changed


def _reaches_concat(name: str, readers: Mapping[str, Sequence[onnx.NodeProto]]) -> bool:
    """Whether a tensor is put together with others as it is."""
    for node in readers.get(name, ()):
        if node.op_type == "Concat":
            return True
        if node.op_type in DATA_MOVEMENT and any(_reaches_concat(output, readers) for output in node.output):
            return True
    return False


def _beyond_zero(graph: onnx.GraphProto, y: str, bounds: Bounds) -> Steps:
    """A Clip at 0 and the farther bound, and the nearer one, which no range keeps; nothing if 0 is between them."""
    low, high = bounds
    if low <= _NEGLIGIBLE and high >= -_NEGLIGIBLE:
        return []
    cut = ("Max", low) if low > 0 else ("Min", high)
    ends = (max(min(low, 0.0), -_LARGEST), min(max(high, 0.0), _LARGEST))
    names = [_constant(graph, f"{y}_{end}", value) for end, value in zip(("low", "high"), ends, strict=True)]
    return [("Clip", names), (cut[0], [_constant(graph, f"{y}_{cut[0]}", cut[1])])]


def _cuts(graph: onnx.GraphProto, y: str, bounds: Bounds) -> Steps:
    """Both bounds, as far as there are any."""
    cuts = [(op, bound) for op, bound in zip(("Max", "Min"), bounds, strict=True) if abs(bound) < _LARGEST]
    return [(op, [_constant(graph, f"{y}_{op}", bound)]) for op, bound in cuts]


def _constant(graph: onnx.GraphProto, name: str, value: float) -> str:
    from onnx import numpy_helper

    graph.initializer.append(numpy_helper.from_array(np.array(value, np.float32), name))
    return name


def _replace(graph: onnx.GraphProto, tensors: Tensors, node: onnx.NodeProto, steps: Steps) -> None:
    """Put operators, each with its further inputs, one behind the other in the place of a node."""
    from onnx import helper

    x, y, at = node.input[0], node.output[0], list(graph.node).index(node)
    graph.node.remove(node)
    for index, (op, names) in enumerate(steps):
        result = y if index == len(steps) - 1 else f"{y}_{op}_{index}"
        graph.node.insert(at + index, helper.make_node(op, [x, *names], [result], f"{y}_{op}_node"))
        if result != y:
            graph.value_info.append(helper.make_tensor_value_info(result, *tensors[node.input[0]]))
        x = result
