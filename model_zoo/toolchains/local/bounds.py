"""The values that a Relu or Clip lets through, whatever its input.

onnxruntime's quantizer takes out a Relu or Clip behind another operator and leaves its work to the range of the tensor
there. So a range must not go beyond these values.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import onnx

Bounds = tuple[float, float]

#: What the quantizer takes out.
RECTIFIERS = frozenset({"Clip", "Relu"})
UNBOUNDED: Bounds = (-np.inf, np.inf)


def find_bounds(model: onnx.ModelProto) -> dict[str, Bounds]:
    """The least and largest value that a tensor can have, by tensor; without those of which neither is known."""
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    found: dict[str, Bounds] = {}
    for node in model.graph.node:
        if node.op_type == "Softmax":
            found[node.output[0]] = (0.0, 1.0)
        elif (bounds := node_bounds(node, constants)) is not None:
            low, high = np.clip(found.get(node.input[0], UNBOUNDED), *bounds)
            found[node.output[0]] = (float(low), float(high))
    return found


def node_bounds(node: onnx.NodeProto, constants: Mapping[str, onnx.TensorProto]) -> Bounds | None:
    """What a Relu, a Clip, or a Max or Min with a constant cuts its first input off at.

    Returns:
        None for other nodes, and where a bound is computed.
    """
    from onnx import helper, numpy_helper

    if node.op_type not in ("Relu", "Clip", "Max", "Min"):
        return None
    names = [*node.input[1:], *[""] * 2][:2]
    if any(name and (name not in constants or list(constants[name].dims) not in ([], [1])) for name in names):
        return None
    first, second = (float(numpy_helper.to_array(constants[name]).reshape(())) if name else None for name in names)
    match node.op_type:
        case "Relu":
            return 0.0, np.inf
        case "Max" if first is not None and second is None:
            return first, np.inf
        case "Min" if first is not None and second is None:
            return -np.inf, first
        case "Clip":
            # Up to opset 10 its bounds are attributes.
            given = {each.name: float(helper.get_attribute_value(each)) for each in node.attribute}
            low = given.get("min", -np.inf) if first is None else first
            return low, given.get("max", np.inf) if second is None else second
    return None
