"""What lies between the last linear operators and an output: e.g. how a detector turns its logits into boxes."""

from __future__ import annotations

from collections.abc import Container, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnx

_LINEAR = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})


def decoding(model: onnx.ModelProto, outputs: Sequence[str], known: Container[str]) -> set[str]:
    """The activations on the way to these outputs, from the last linear operators on, their own outputs included.

    Args:
        known: The activations whose bits can be chosen; others are left out.
    """
    producers = {output: node for node in model.graph.node for output in node.output}
    found: set[str] = set()
    left = list(outputs)
    while left:
        name = left.pop()
        if name in found or name not in producers:
            continue
        found.add(name)
        if producers[name].op_type not in _LINEAR:
            left += producers[name].input
    return {name for name in found if name in known}
