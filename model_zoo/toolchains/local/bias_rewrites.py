"""Biases that make up for how an NPU rounds what convolutions and matrix products of integers add up.

Two errors are known, each measured on the emulators (docs/accuracy.md). A sum of 16-bit activations is added up in 32
bits, of which the low 8 are lost: it is cut off, 128 too low on average; its bias is cut off before; the weights' sum
times the activation's zero point is rounded. That foretells the mean error of each channel of MobileNetV2 on v68 and
v75 to within 1 to 49 units by layer. Depthwise convolutions with a stride lose nothing. And some generations cut off
8-bit results where later ones round, which a network whose last layers average adds up: ResNet MC3 loses 7 dB by it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from model_zoo.targets.hexagon import HexagonGeneration
from model_zoo.toolchains.local.onnx_graph import (
    QuantizedTensor,
    add_constant,
    dequantized,
    new_node,
    quantize_behind,
    quantized,
)

if TYPE_CHECKING:
    import onnx_ir as ir

_LARGEST = np.iinfo(np.int32).max
#: One more than what the lost bits of a 16-bit sum can say.
_LOST = 256


@dataclass(frozen=True)
class QuantizedLayer:
    """A Conv, ConvTranspose or Gemm of a quantized activation with a constant weight.

    Args:
        weight: Its integers, in the shape of the node's.
        scales: Of each channel's sums, [channels].
        bias: Its integers, [channels]; zeros where the node has none.
        result: What follows, maybe behind a Relu or Clip; None where that is not quantized.
    """

    node: ir.Node
    activation: QuantizedTensor
    weight: np.ndarray
    scales: np.ndarray
    bias: np.ndarray
    result: QuantizedTensor | None

    @property
    def weight_sums(self) -> np.ndarray:
        """Of each channel's integers; of a Conv or Gemm."""
        rows = np.moveaxis(self.weight, _channel_axis(self.node), 0)
        return np.asarray(rows.reshape(len(rows), -1).astype(np.int64).sum(axis=1))

    def set_bias(self, bias: np.ndarray) -> None:
        """Replace the bias, or add one: integers, rounded here, in the scale of the sums."""
        integers = np.clip(np.rint(bias), -_LARGEST, _LARGEST).astype(np.int32)
        node, graph = self.node, self.node.graph
        assert graph is not None
        if (old := dequantized((*node.inputs, None)[2])) is not None:
            old.replace(integers)
            return
        name = f"{node.outputs[0].name}_bias"
        parts = {"": integers, "_scale": self.scales.astype(np.float32), "_zero": np.zeros_like(integers)}
        inputs = [add_constant(graph, f"{name}{part}", array) for part, array in parts.items()]
        dequantize = new_node("DequantizeLinear", inputs, f"{name}_float", name, axis=0)
        graph.insert_before(node, dequantize)
        node.resize_inputs(3)
        node.replace_input_with(2, dequantize.outputs[0])


def center_accumulators(graph: ir.Graph, generation: HexagonGeneration) -> int:
    """Choose biases by which 16-bit sums are right on average, though their low 8 bits are lost.

    Only with weights of 4 or 8 bits; layers without a bias get one.

    Returns:
        How many layers changed.
    """
    layers = [layer for layer in _quantized_layers(graph) if _loses_bits(layer)]
    for layer in layers:
        offset = layer.weight_sums * int(layer.activation.zero)
        gained = offset - _LOST * np.rint(offset / _LOST)
        kept = _LOST * np.rint((layer.bias + _LOST / 2 - gained) / _LOST)
        # Half of what is lost on top, so that no rounding on the way changes what is kept.
        layer.set_bias(kept + _LOST / 2 * (np.sign(kept) if generation.biases_toward_zero else 1))
    return len(layers)


def raise_biases(graph: ir.Graph, generation: HexagonGeneration) -> int:
    """Add to biases what a generation's 8-bit results come out too low.

    Only from 8-bit activations to 8-bit results; layers without a bias get one.

    Returns:
        How many layers changed.
    """
    changed = 0
    for layer in _quantized_layers(graph):
        if layer.activation.bits == 8 and layer.result is not None and layer.result.bits == 8:
            layer.set_bias(layer.bias + generation.rounding_bias * float(layer.result.scale) / layer.scales)
            changed += 1
    return changed


def _loses_bits(layer: QuantizedLayer) -> bool:
    attributes = layer.node.attributes
    if layer.activation.bits != 16 or layer.weight.dtype.name not in ("int4", "int8"):
        return False
    strided = max(attributes.get_ints("strides", [1])) > 1
    return layer.node.op_type != "ConvTranspose" and not (attributes.get_int("group", 1) > 1 and strided)


def _quantized_layers(graph: ir.Graph) -> Iterator[QuantizedLayer]:
    """The layers whose bias can be changed, because nothing else reads it."""
    for node in [node for node in graph if node.op_type in ("Conv", "ConvTranspose", "Gemm")]:
        activation, weight, bias = (dequantized(value) for value in (*node.inputs, None)[:3])
        if activation is None or weight is None or (integers := weight.integers) is None:
            continue
        channels = integers.shape[_channel_axis(node)]
        if node.op_type == "ConvTranspose":
            channels *= node.attributes.get_int("group", 1)
        offsets = np.zeros(channels, np.int32) if bias is None else bias.integers
        shared = bias is not None and any(len(v.uses()) > 1 for v in (bias.node.outputs[0], bias.node.inputs[0]) if v)
        if offsets is None or offsets.dtype != np.int32 or shared or (bias is None and any(node.inputs[2:])):
            continue
        scales = np.broadcast_to(activation.scale.astype(np.float64) * weight.scale, (channels,))
        result = quantized(quantize_behind(node.outputs[0]))
        yield QuantizedLayer(node, activation, integers, scales, offsets, result)


def _channel_axis(node: ir.Node) -> int:
    return 0 if node.op_type == "Conv" or (node.op_type == "Gemm" and node.attributes.get_int("transB")) else 1
