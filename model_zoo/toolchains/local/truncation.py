"""The NPUs of v68 and v69 cut off where later ones round, and what makes up for it.

Their emulators give most convolutions and matrix products in 8 bits 0.04 to 0.06 of a step too low, where later ones
are within 0.005 (docs/accuracy.md has more). A network whose last layers average adds such errors up: ResNet MC3 loses
7 dB by it. So their biases get as much more before they are compiled for these NPUs.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import onnx

#: Hexagon generations that cut off.
CUT_OFF = (68, 69)
#: Steps of the output that the products of these NPUs mostly lack; of 0.03 to 0.08 the best for SqueezeNet.
SHORTFALL = 0.044
_LARGEST = np.iinfo(np.int32).max


def raise_biases(model: onnx.ModelProto) -> int:
    """Add what these NPUs cut off to the biases of a QDQ model, in place; gives how many.

    Only products of 8-bit activations with 8-bit results; those without a bias get one.
    """
    from onnx import numpy_helper

    graph = model.graph
    constants = {tensor.name: tensor for tensor in graph.initializer}
    makers = {name: node for node in graph.node for name in node.output}
    readers = {name: node for node in graph.node for name in node.input}
    uses = Counter(name for node in graph.node for name in node.input)

    def value(name: str) -> np.ndarray:
        return numpy_helper.to_array(constants[name])

    def dequantized(name: str) -> list[str]:
        """What a tensor is dequantized from, its scale and its zero point."""
        node = makers.get(name)
        known = node is not None and node.op_type == "DequantizeLinear" and constants.keys() >= set(node.input[1:])
        return list(node.input) if node is not None and known else []

    def result(name: str) -> onnx.NodeProto | None:
        """The QuantizeLinear behind a product, or behind the Relu or Clip behind it."""
        node = readers.get(name) if uses[name] == 1 else None
        if node is not None and node.op_type in ("Relu", "Clip") and node.input[0] == name:
            return result(node.output[0])
        return node if node is not None and node.op_type == "QuantizeLinear" else None

    raised = 0
    for node in [node for node in graph.node if node.op_type in ("Conv", "ConvTranspose", "Gemm")]:
        activation, weight = dequantized(node.input[0]), dequantized(node.input[1])
        quantize = result(node.output[0])
        if quantize is None or len(activation) < 3 or len(weight) < 3 or weight[0] not in constants:
            continue
        if not constants.keys() >= set(quantize.input[1:]) or len(quantize.input) < 3:
            continue
        if any(value(zero).dtype.itemsize != 1 for zero in (activation[2], quantize.input[2])):
            continue
        step = float(value(quantize.input[1]))
        if len(node.input) > 2 and node.input[2]:
            bias = dequantized(node.input[2])
            if not bias or bias[0] not in constants or uses[bias[0]] != 1 or value(bias[0]).dtype != np.int32:
                continue
            higher = value(bias[0]) + SHORTFALL * step / value(bias[1]).astype(np.float64)
            old = constants[bias[0]]
            old.CopyFrom(numpy_helper.from_array(_int32(higher), old.name))
        else:
            scales = value(activation[1]).astype(np.float64) * value(weight[1])
            _give_bias(graph, node, SHORTFALL * step, np.broadcast_to(scales, _channels(node, value(weight[0]).shape)))
        raised += 1
    return raised


def _channels(node: onnx.NodeProto, weight: tuple[int, ...]) -> tuple[int]:
    attributes = {attribute.name: attribute.i for attribute in node.attribute}
    if node.op_type == "ConvTranspose":
        return (weight[1] * attributes.get("group", 1),)
    return (weight[1] if node.op_type == "Gemm" and not attributes.get("transB") else weight[0],)


def _give_bias(graph: onnx.GraphProto, node: onnx.NodeProto, bias: float, scales: np.ndarray) -> None:
    """A bias of the same height for all channels."""
    from onnx import helper, numpy_helper

    name = f"{node.output[0]}_raised"
    parts = {"": _int32(bias / scales), "_scale": scales.astype(np.float32), "_zero": np.zeros(scales.shape, np.int32)}
    graph.initializer.extend(numpy_helper.from_array(array, f"{name}{part}") for part, array in parts.items())
    dequantize = helper.make_node("DequantizeLinear", [f"{name}{part}" for part in parts], [f"{name}_float"], name)
    dequantize.attribute.append(helper.make_attribute("axis", 0))
    graph.node.insert(list(graph.node).index(node), dequantize)
    del node.input[2:]
    node.input.append(f"{name}_float")


def _int32(values: np.ndarray) -> np.ndarray:
    rounded: np.ndarray = np.clip(np.rint(values), -_LARGEST, _LARGEST).astype(np.int32)
    return rounded
