"""The convolutions and matrix products of a QDQ model, and their biases, for what changes these for some NPUs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from model_zoo.toolchains.local.onnx_graph import quantize_behind, readers_of

if TYPE_CHECKING:
    import onnx

_LARGEST = np.iinfo(np.int32).max


@dataclass(frozen=True)
class Quantized:
    """What a tensor is dequantized from.

    Args:
        values: The integers; None where they are worked out by the model.
    """

    values: np.ndarray | None
    scale: np.ndarray
    zero: np.ndarray

    @property
    def bits(self) -> int:
        return 8 * self.zero.dtype.itemsize


@dataclass(frozen=True)
class Product:
    """A Conv, ConvTranspose or Gemm of a quantized activation with a constant weight.

    Args:
        weight: Its integers, in the shape of the node's.
        scales: Of each channel's products, [channels].
        bias: Its integers, [channels]; zeros where the node has none.
        result: What follows, maybe behind a Relu or Clip; None where that is not quantized.
        attributes: The node's whole numbers.
    """

    node: onnx.NodeProto
    activation: Quantized
    weight: np.ndarray
    scales: np.ndarray
    bias: np.ndarray
    result: Quantized | None
    attributes: dict[str, list[int]]

    @property
    def weight_sums(self) -> np.ndarray:
        """Of each channel's integers; of a Conv or Gemm."""
        axis = 0 if self.node.op_type == "Conv" or self.attributes.get("transB") == [1] else 1
        rows = np.moveaxis(self.weight, axis, 0).reshape(self.weight.shape[axis], -1)
        return np.asarray(rows.astype(np.int64).sum(axis=1))


class Products:
    """The products of a model, whose biases can be changed. Those whose bias another node reads too are left out."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self._graph = model.graph
        self._constants = {tensor.name: tensor for tensor in model.graph.initializer}
        self._makers = {name: node for node in model.graph.node for name in node.output}
        self._readers = readers_of(model.graph)

    def __iter__(self) -> Iterator[Product]:
        for node in [node for node in self._graph.node if node.op_type in ("Conv", "ConvTranspose", "Gemm")]:
            activation, weight = self._dequantized(node.input[0]), self._dequantized(node.input[1])
            if activation is None or weight is None or weight.values is None:
                continue
            attributes = {each.name: list(each.ints) or [each.i] for each in node.attribute}
            channels = _channels(node.op_type, weight.values.shape, attributes)
            bias = np.zeros(channels, np.int32)
            if _biased(node):
                found = self._dequantized(node.input[2])
                if found is None or found.values is None or found.values.dtype != np.int32 or self._is_shared(node):
                    continue
                bias = found.values
            scales = np.broadcast_to(activation.scale.astype(np.float64) * weight.scale, (channels,))
            behind = quantize_behind(node.output[0], self._readers)
            result = self._quantized(behind) if behind is not None else None
            yield Product(node, activation, weight.values, scales, bias, result, attributes)

    def set_bias(self, product: Product, bias: np.ndarray) -> None:
        """Give a product these integers, rounded and in the scale of its products; it gets a bias if it had none."""
        from onnx import helper, numpy_helper

        node = product.node
        integers = np.clip(np.rint(bias), -_LARGEST, _LARGEST).astype(np.int32)
        if _biased(node):
            tensor = self._constants[self._makers[node.input[2]].input[0]]
            tensor.CopyFrom(numpy_helper.from_array(integers, tensor.name))
            return
        name = f"{node.output[0]}_bias"
        parts = {"": integers, "_scale": product.scales.astype(np.float32), "_zero": np.zeros_like(integers)}
        self._graph.initializer.extend(numpy_helper.from_array(array, f"{name}{part}") for part, array in parts.items())
        dequantize = helper.make_node("DequantizeLinear", [f"{name}{part}" for part in parts], [f"{name}_float"], name)
        dequantize.attribute.append(helper.make_attribute("axis", 0))
        self._graph.node.insert(list(self._graph.node).index(node), dequantize)
        del node.input[2:]
        node.input.append(f"{name}_float")

    def _dequantized(self, name: str) -> Quantized | None:
        node = self._makers.get(name)
        return self._quantized(node) if node is not None and node.op_type == "DequantizeLinear" else None

    def _is_shared(self, node: onnx.NodeProto) -> bool:
        """Whether another node reads a product's bias too."""
        integers = self._makers[node.input[2]].input[0]
        return len(self._readers[node.input[2]]) > 1 or len(self._readers[integers]) > 1

    def _quantized(self, node: onnx.NodeProto) -> Quantized | None:
        from onnx import numpy_helper

        if len(node.input) < 3 or not self._constants.keys() >= set(node.input[1:]):
            return None
        values, scale, zero = (
            numpy_helper.to_array(self._constants[name]) if name in self._constants else None for name in node.input
        )
        return Quantized(values, scale, zero) if scale is not None and zero is not None else None


def _biased(node: onnx.NodeProto) -> bool:
    return len(node.input) > 2 and bool(node.input[2])


def _channels(op_type: str, weight: tuple[int, ...], attributes: dict[str, list[int]]) -> int:
    if op_type == "ConvTranspose":
        return weight[1] * attributes.get("group", [1])[0]
    return weight[1] if op_type == "Gemm" and attributes.get("transB") != [1] else weight[0]
