"""NPUs from v73 on multiply two 16-bit activations in full if the second is signed, and what makes it so.

An unsigned second factor they take in 8 bits without a word: 48.8 dB from the exact product, against 76.3 dB for a
signed one around 0, on the emulators of v73 to v81. Those of v68 and v69 refuse a signed one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import onnx

#: The first Hexagon generation that takes them.
FIRST_SIGNED = 73
_LARGEST = np.iinfo(np.int16).max


def sign_second_factors(model: onnx.ModelProto) -> int:
    """Convert the second factor of each MatMul of 16-bit activations to int16 with zero point 0; gives how many.

    It keeps its range, at 15 bits or more.
    """
    from onnx import helper, numpy_helper

    graph = model.graph
    constants = {tensor.name: tensor for tensor in graph.initializer}
    makers = {name: node for node in graph.node for name in node.output}
    signed: dict[str, str] = {}

    def unsigned_16bit(name: str) -> onnx.NodeProto | None:
        """The DequantizeLinear that gives this activation from uint16."""
        node = makers.get(name)
        if node is None or node.op_type != "DequantizeLinear" or node.input[0] in constants or len(node.input) < 3:
            return None
        if not constants.keys() >= set(node.input[1:]):
            return None
        return node if numpy_helper.to_array(constants[node.input[2]]).dtype == np.uint16 else None

    changed = 0
    for product in [node for node in graph.node if node.op_type == "MatMul"]:
        first, factor = (unsigned_16bit(name) for name in product.input)
        if first is None or factor is None:
            continue
        name = factor.output[0]
        if name not in signed:
            signed[name] = f"{name}_signed"
            scale, zero = (numpy_helper.to_array(constants[part]) for part in factor.input[1:])
            reach = np.maximum(zero, np.iinfo(np.uint16).max - zero).astype(np.float64)
            parameters = [f"{name}_signed_scale", f"{name}_signed_zero"]
            for array, part in zip(
                ((scale * reach / _LARGEST).astype(np.float32), np.int16(0)), parameters, strict=True
            ):
                graph.initializer.append(numpy_helper.from_array(np.asarray(array), part))
            at = list(graph.node).index(factor) + 1
            for op, x, y in (
                ("DequantizeLinear", f"{name}_int16", signed[name]),
                ("QuantizeLinear", name, f"{name}_int16"),
            ):
                graph.node.insert(at, helper.make_node(op, [x, *parameters], [y], y, domain=factor.domain))
        product.input[1] = signed[name]
        changed += 1
    return changed
