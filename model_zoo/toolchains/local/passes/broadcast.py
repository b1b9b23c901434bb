"""Rewrites of broadcasting; why is said where the passes are listed."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnx

    from model_zoo.toolchains.local.passes import Tensors

_BROADCAST = ("Add", "Sub", "Mul", "Div")


def broadcast_by_operator(graph: onnx.GraphProto, tensors: Tensors) -> bool:
    """An operator that broadcasts reads what an Expand of one operand to the shape of the other reads."""
    outputs = {output.name for output in graph.output}
    changed = False
    for expand in [node for node in graph.node if node.op_type == "Expand"]:
        x, y = expand.input[0], expand.output[0]
        if y in outputs or y not in tensors:
            continue
        for node in graph.node:
            if node.op_type in _BROADCAST and list(node.input).count(y) == 1:
                at = list(node.input).index(y)
                other = tensors.get(node.input[1 - at])
                if other is not None and other.shape == tensors[y].shape:
                    node.input[at] = x
                    changed = True
    return changed
