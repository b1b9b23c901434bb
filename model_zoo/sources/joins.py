"""Find the parts that an output joins, e.g. boxes and scores: each is quantized with the scale of the largest."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

#: By axis of a tensor, how long each of the parts is that are joined there.
Parts = dict[int, list[int]]


def find_joins(program: torch.export.ExportedProgram, output_names: list[str]) -> dict[str, Parts]:
    """The parts of each output of a traced module that ends in a join, or in operators that keep one apart.

    Returns:
        By output; those that join nothing are left out.
    """
    (returned,) = next(node for node in reversed(program.graph.nodes) if node.op == "output").args
    parts = {name: _parts(node) for name, node in zip(output_names, returned, strict=True)}
    return {name: axes for name, axes in parts.items() if axes}


def _parts(node: Any) -> Parts:
    import torch

    aten = torch.ops.aten
    if getattr(node, "op", None) != "call_function":
        return {}
    if node.target == aten.stack.default:
        return {_axis(node, 1, 0): [1] * len(node.args[0])}
    if node.target == aten.cat.default:
        joined, axis = node.args[0], _axis(node, 1, 0)
        inner = [_parts(each) for each in joined]
        sizes = [inner[i].get(axis) or [_shape(each)[axis]] for i, each in enumerate(joined)]
        shared = {a: s for a, s in inner[0].items() if a != axis and all(each.get(a) == s for each in inner)}
        return {**shared, axis: [size for part in sizes for size in part]}
    inputs = [each for each in node.all_input_nodes if "val" in each.meta and hasattr(each.meta["val"], "shape")]
    if not inputs or not hasattr(node.meta.get("val"), "shape"):
        return {}
    if node.target in (aten.permute.default, aten.transpose.int):
        order = list(range(len(_shape(node))))
        if node.target == aten.permute.default:
            order = [axis % len(order) for axis in node.args[1]]
        else:
            a, b = (axis % len(order) for axis in node.args[1:3])
            order[a], order[b] = order[b], order[a]
        return {order.index(axis): sizes for axis, sizes in _parts(inputs[0]).items()}
    if node.target in (aten.view.default, aten.reshape.default, aten._unsafe_view.default):
        return _reshaped(_parts(inputs[0]), _shape(inputs[0]), _shape(node))
    carriers = [each for each in inputs if _shape(each) == _shape(node)]
    # An operator that mixes values along an axis, as a softmax does, still keeps the parts on the others apart.
    return _parts(carriers[0]) if len(carriers) == 1 else {}


def _reshaped(parts: Parts, before: list[int], after: list[int]) -> Parts:
    """Axes that a reshape leaves whole."""
    kept = {}
    for axis, sizes in parts.items():
        for index, size in enumerate(after):
            if size == before[axis] and math.prod(after[:index]) == math.prod(before[:axis]):
                kept[index] = sizes
    return kept


def _axis(node: Any, position: int, default: int) -> int:
    axis = node.args[position] if len(node.args) > position else node.kwargs.get("dim", default)
    return int(axis) % len(_shape(node))


def _shape(node: Any) -> list[int]:
    return [int(size) for size in node.meta["val"].shape]
