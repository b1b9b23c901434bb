"""Keep biases whole: a scale for small weights from which on their bias fits into the integers that it is added in.

A bias is held in steps of the input's scale times the weight's. Training switches a channel off by a batch
normalisation whose factor is next to zero and whose offset is not: its weights are next to zero, and its bias is more
of such steps than 32 bits count.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from model_zoo.toolchains.local.onnx_graph import channel_axis, constant, dequantized
from model_zoo.toolchains.local.quantize.calibrate import Values

if TYPE_CHECKING:
    import onnx

#: Steps of the largest bias; the rest of 32 bits is for the products. With 2^31 the emulator of v75 is -9 dB from torch
#: where the host CPU reaches 52; with 2^28 both do, and from 2^24 on the weights get coarser.
_MOST_STEPS = 2.0**28
#: Largest integer of a weight, by its type. Weights of 16 bits have fine scales and large biases on purpose.
_LARGEST = {"int4": 7, "int8": 127}


def least_scales(bias: np.ndarray, activation_scale: np.ndarray) -> Values:
    """The smallest scales of a layer's weight, one for each output, with which its bias fits."""
    scales: Values = (np.abs(bias.astype(np.float64)) / (activation_scale * _MOST_STEPS)).astype(np.float32)
    return scales


def keep_biases(model: onnx.ModelProto, quantized: onnx.ModelProto) -> onnx.ModelProto:
    """Raise the scales of weights whose biases do not fit.

    Args:
        model: The float model.
        quantized: The same in QDQ form, its nodes of the same names.

    Returns:
        The quantized model itself where all biases fit.
    """
    import onnx_ir as ir

    floats, result, changed = ir.from_proto(model), ir.from_proto(quantized), False
    known = {node.name: node for node in floats.graph if node.op_type in ("Conv", "ConvTranspose", "Gemm")}
    for node in result.graph:
        source = known.get(node.name)
        tensors = [dequantized(value) for value in node.inputs]
        if source is None or len(tensors) != 3 or None in tensors:
            continue
        activation, weight, bias = (tensor for tensor in tensors if tensor is not None)
        values, offsets = constant(source.inputs[1]), constant(source.inputs[2])
        largest = _LARGEST.get(weight.zero.dtype.name)
        if values is None or offsets is None or largest is None or weight.scale.size not in (1, offsets.size):
            continue
        least = least_scales(offsets, activation.scale)
        scale = np.maximum(weight.scale, least if weight.scale.ndim else least.max())
        if (scale == weight.scale).all():
            continue
        shape = [1] * values.ndim
        shape[channel_axis(source)] = -1
        integers = np.rint(values / (scale.reshape(shape) if scale.ndim else scale))
        weight.replace(np.clip(integers, -largest, largest), scale)
        bias.replace(np.rint(offsets.astype(np.float64) / (activation.scale * scale)), activation.scale * scale)
        changed = True
    return ir.to_proto(result) if changed else quantized
