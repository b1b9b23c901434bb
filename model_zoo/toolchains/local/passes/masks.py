"""Rewrites of the masks of attention; why is said where the passes are listed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from model_zoo.toolchains.local.onnx_graph import DATA_MOVEMENT, add_constant, constant

if TYPE_CHECKING:
    import onnx_ir as ir

#: What a masked score becomes: e^-50 is nothing, and half precision and 16 bits hold it beside the scores.
_MASKED = -50.0
#: A constant that is added to scores is a mask from here on.
_MASK_FROM = -1000.0
#: What a mask is made with, beside what moves values.
_MAKES_MASKS = DATA_MOVEMENT | {"Add", "Concat", "Max", "Min", "Mul", "Sub", "Where"}


def clamp_masks(graph: ir.Graph) -> bool:
    """What masks scores before a Softmax is no further below zero than it needs to be, and then no row is all NaN."""
    changed = False
    for softmax in [node for node in graph if node.op_type == "Softmax"]:
        clamped = [_clamp(graph, node, index) for node, index in _mask_constants(softmax.inputs[0])]
        if any(clamped):
            changed = True
            _without_nan_check(softmax)
    return changed


def _mask_constants(scores: ir.Value | None) -> Iterator[tuple[ir.Node, int]]:
    """Nodes with an input that is a constant and masks scores: those on the ways from the Softmax back through Add."""
    seen, waiting = set(), [scores.producer() if scores is not None else None]
    while waiting:
        node = waiting.pop()
        if node is None or node in seen or node.op_type not in _MAKES_MASKS:
            continue
        seen.add(node)
        for index, value in enumerate(node.inputs):
            if (array := constant(value)) is not None and array.dtype.kind == "f":
                yield node, index
            elif value is not None:
                waiting.append(value.producer())


def _clamp(graph: ir.Graph, node: ir.Node, index: int) -> bool:
    value = node.inputs[index]
    array = constant(value)
    assert value is not None and array is not None
    # (mask - 1) * 1e9 masks by a large positive factor.
    low, high = _MASKED, -_MASKED if node.op_type == "Mul" else np.inf
    if not (array < _MASK_FROM).any() and not (node.op_type == "Mul" and (array > -_MASK_FROM).any()):
        return False
    name = f"{value.name}_clamped_{node.outputs[0].name}"
    node.replace_input_with(index, add_constant(graph, name, np.clip(array, low, high).astype(array.dtype)))
    return True


def _without_nan_check(softmax: ir.Node) -> None:
    """What torch puts behind the Softmax, for rows that are masked whole: such a row is NaN only beside -inf."""
    y = softmax.outputs[0]
    for check in [node for node, _ in y.uses() if node.op_type == "IsNaN"]:
        for where in [node for node, _ in check.outputs[0].uses() if node.op_type == "Where"]:
            if where.inputs[2] is y and not where.outputs[0].is_graph_output():
                where.outputs[0].replace_all_uses_with(y)
