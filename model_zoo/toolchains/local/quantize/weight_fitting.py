"""Choose a quantized model's weights layer by layer, each on inputs that carry the quantization before it.

Behind 16-bit activations a weight first moves to where its float output would be the float model's. Behind 8-bit ones
it would shrink against their noise, which costs more where later layers average that noise away. Then it is rounded so
that the output changes least (`rounding.py`), and the bias takes up the change of the mean. Behind 16-bit activations
its scales are such that every NPU multiplies exactly.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from model_zoo.base.spec import Arrays
from model_zoo.toolchains.local.onnx_graph import quantize_behind, readers_of
from model_zoo.toolchains.local.quantize.calibrate import Values
from model_zoo.toolchains.local.quantize.gptq import exact_factors, find_scales, fit
from model_zoo.toolchains.local.quantize.linear import Linear, find_linears
from model_zoo.toolchains.local.quantize.stream import Stream

if TYPE_CHECKING:
    import onnx

#: Output positions of all samples together that a layer is fitted on.
_POSITIONS = 4096


def choose_weights(model: onnx.ModelProto, quantized: onnx.ModelProto, samples: Sequence[Arrays]) -> list[str]:
    """Replace the integers, scales and biases of a quantized model's 4-bit and 8-bit weights in place.

    The largest live arrays are the samples' tensors between two layers, in both models, and one layer's inputs at
    `_POSITIONS` positions.

    Args:
        model: The float model.
        quantized: The same in QDQ form, its nodes of the same names.

    Returns:
        Names of the weights.
    """
    float_stream, stream, chosen = Stream(model, samples), Stream(quantized, samples), []
    writer = _Writer(model, quantized)
    for linear in find_linears(model):
        if not writer.takes(linear) or float_stream.is_constant(linear.activation):
            continue
        float_stream.advance(linear.node)
        stream.advance(linear.node)
        actual = writer.activation(linear)
        x, residual = _inputs(
            linear,
            writer.weight(linear),
            [sample[linear.activation] for sample in float_stream.values],
            [sample[actual] for sample in stream.values],
        )
        writer.write(linear, x, residual)
        chosen.append(linear.weight)
    return chosen


def _inputs(
    linear: Linear, tensor: Values, wanted: Sequence[Values], actual: Sequence[Values]
) -> tuple[Values, Values]:
    """What a layer gets in the quantized model, and what the float model's layer gives beyond the weight times it."""
    weight = linear.matrix(tensor)
    keep = math.ceil(_POSITIONS / len(actual))
    columns = [linear.columns(x, tensor.shape, keep) for x in actual]
    floats = (linear.columns(x, tensor.shape, keep) for x in wanted)
    residual = [weight @ (x - column) for x, column in zip(floats, columns, strict=True)]
    return np.concatenate(columns, axis=2), np.concatenate(residual, axis=2)


class _Writer:
    """Finds a layer's tensors in the quantized model, and changes them."""

    def __init__(self, model: onnx.ModelProto, quantized: onnx.ModelProto) -> None:
        self._floats = {tensor.name: tensor for tensor in model.graph.initializer}
        self._tensors = {tensor.name: tensor for tensor in quantized.graph.initializer}
        self._nodes = {node.name: node for node in quantized.graph.node}
        self._producers = {output: node for node in quantized.graph.node for output in node.output}
        self._readers = readers_of(quantized.graph)

    def activation(self, linear: Linear) -> str:
        """The name that the layer's activation has in the quantized model."""
        return str(self._nodes[linear.node].input[0])

    def weight(self, linear: Linear) -> Values:
        """The float weight."""
        return self._read(self._floats[linear.weight])

    def takes(self, linear: Linear) -> bool:
        """Whether the layer's weight, and its activation, are quantized to 4 or 8 bits from constants."""
        from onnx import TensorProto

        if linear.node not in self._nodes:
            return False
        producers = [self._producers[n] for n in self._nodes[linear.node].input if n in self._producers]
        if [node.op_type for node in producers] != ["DequantizeLinear"] * (3 if linear.bias else 2):
            return False
        integers = self._tensors.get(producers[1].input[0])
        return integers is not None and integers.data_type in (TensorProto.INT4, TensorProto.INT8)

    def write(self, linear: Linear, x: Values, residual: Values) -> None:
        """Fit the weight and write what was found."""
        from onnx import TensorProto

        node = self._nodes[linear.node]
        integers, scale, zero = (self._tensors[name] for name in self._producers[node.input[1]].input)
        tensor = self.weight(linear)
        weight = linear.matrix(tensor)
        bits = 4 if integers.data_type == TensorProto.INT4 else 8
        mean, shift = np.zeros_like(x[:, :, :1]), np.zeros_like(residual[:, :, :1])
        if linear.bias:
            mean, shift = x.mean(axis=2, keepdims=True), residual.mean(axis=2, keepdims=True)
            x -= mean
            residual -= shift
        if not self._is_16bit(node.input[0]):
            residual[:] = 0
        importance = np.square(x).mean(axis=2)
        if scale.dims:
            scales = find_scales(weight, importance, bits)
        else:
            spread = np.broadcast_to(importance[:, None], weight.shape)
            one = find_scales(weight.reshape(1, 1, -1), spread.reshape(1, -1), bits)
            scales = np.broadcast_to(one, (*weight.shape[:2], 1))
        result = quantize_behind(node.output[0], self._readers)
        if result is not None and self._is_16bit(node.input[0]):
            activation = self._producers[node.input[0]]
            scales = exact_factors(scales, *(self._read(self._tensors[each.input[1]]) for each in (activation, result)))
        fitted = fit(weight, x, residual, scales, bits)
        self._replace(integers, linear.tensor(fitted, tensor.shape))
        self._replace(scale, scales.reshape(-1) if scale.dims else scales.reshape(-1)[0])
        self._replace(zero, np.zeros(tuple(zero.dims)))
        if linear.bias:
            bias = self._read(self._floats[linear.bias]) + (shift + (weight - fitted * scales) @ mean).reshape(-1)
            self._write_bias(self._producers[node.input[2]], self._producers[node.input[0]], scale, bias)

    def _is_16bit(self, activation: str) -> bool:
        from onnx import TensorProto

        zero = self._tensors[self._producers[activation].input[2]]
        return bool(zero.data_type == TensorProto.UINT16)

    def _write_bias(
        self, node: onnx.NodeProto, activation: onnx.NodeProto, scale: onnx.TensorProto, bias: np.ndarray
    ) -> None:
        """A bias has the scale of its products."""
        integers, bias_scale = (self._tensors[name] for name in node.input[:2])
        product = self._read(self._tensors[activation.input[1]]) * self._read(scale)
        limits = np.iinfo(np.int32)
        self._replace(integers, np.clip(np.rint(bias.astype(np.float64) / product), limits.min, limits.max))
        self._replace(bias_scale, product.reshape(tuple(bias_scale.dims)))

    @staticmethod
    def _read(tensor: onnx.TensorProto) -> Values:
        from onnx import numpy_helper

        values: Values = numpy_helper.to_array(tensor)
        return values

    @staticmethod
    def _replace(tensor: onnx.TensorProto, values: Values) -> None:
        """Give a tensor other values of its own type and shape."""
        from onnx import helper, numpy_helper

        kind = helper.tensor_dtype_to_np_dtype(tensor.data_type)
        cast = np.asarray(values).astype(kind).reshape(tuple(tensor.dims))
        tensor.CopyFrom(numpy_helper.from_array(cast, tensor.name))
