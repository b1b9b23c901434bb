"""Cross-layer equalization: what two convolutions hand over gets about the same range in every channel.

Nagel et al. 2019, "Data-Free Quantization Through Weight Equalization and Bias Correction". A tensor between two
convolutions has one scale, so that channels of a small range get few of its steps. Multiplying a channel by a positive
number, and the weights that read it by the inverse, changes no output. Theirs makes the ranges of both weights equal.
Here weights have a scale for each output channel, so that the tensor itself, as calibration samples show it, and the
weights that read it take the place of the two.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from model_zoo.base.spec import Arrays
from model_zoo.toolchains.local.quantize.calibrate import Values, cpu_session

if TYPE_CHECKING:
    import onnx

#: A factor on a channel goes through them unchanged as long as it is positive.
_HOMOGENEOUS = frozenset({"LeakyRelu", "MaxPool", "PRelu", "Relu"})
#: Largest factor, and its inverse the smallest: a channel that the samples leave silent may not be so on others.
_LARGEST = 16.0
#: For channels without weights or values.
_SMALLEST = 1e-9
_RECORD = "model_zoo.equalized"


@dataclass(frozen=True)
class Pair:
    """Two convolutions with nothing between them that minds a factor.

    Args:
        weight, bias: Of the first; `bias` is empty where it has none.
        next_weight: Of the second, which has `groups` groups.
        between: The tensors from the first to the second, in order.
    """

    weight: str
    bias: str
    next_weight: str
    groups: int
    between: tuple[str, ...]


def find_pairs(model: onnx.ModelProto) -> list[Pair]:
    """Every pair with constant weights that nothing else reads, nor the tensors between, of which none is an output."""
    readers = defaultdict(list)
    for node in model.graph.node:
        for name in node.input:
            readers[name].append(node)
    constants = {tensor.name for tensor in model.graph.initializer}
    outputs = {output.name for output in model.graph.output}

    def own(names: Sequence[str]) -> bool:
        return all(name in constants and len(readers[name]) == 1 for name in names if name)

    pairs = []
    for first in model.graph.node:
        if first.op_type != "Conv" or not own(first.input[1:]):
            continue
        node, between = first, list[str]()
        while node.output[0] not in outputs and len(readers[node.output[0]]) == 1 and len(node.output) == 1:
            between.append(node.output[0])
            (node,) = readers[between[-1]]
            if node.op_type not in _HOMOGENEOUS:
                break
        if node is not first and node.op_type == "Conv" and node.input[0] == between[-1] and own(node.input[1:2]):
            groups = next((attribute.i for attribute in node.attribute if attribute.name == "group"), 1)
            bias = first.input[2] if len(first.input) > 2 else ""
            pairs.append(Pair(first.input[1], bias, node.input[1], groups, tuple(between)))
    return pairs


def find_factors(
    model: onnx.ModelProto, pairs: Sequence[Pair], samples: Iterable[Arrays], for_weights: bool
) -> list[Values]:
    """What to multiply each channel between each pair by.

    Args:
        for_weights: Make a channel's range equal to that of the weights that read it; or else go half of the way to
            equal ranges of all channels.
    """
    from onnx import numpy_helper

    weights = {tensor.name: tensor for tensor in model.graph.initializer}
    factors = []
    for pair, peak in zip(pairs, _peaks(model, [pair.between[-1] for pair in pairs], samples), strict=True):
        by_group = _by_group(pair, numpy_helper.to_array(weights[pair.next_weight]))
        weight = np.abs(by_group).max(axis=(1, *range(3, by_group.ndim))).reshape(-1) if for_weights else 1.0
        factor = np.sqrt(np.maximum(weight, _SMALLEST) / np.maximum(peak, _SMALLEST))
        factor /= np.exp(np.log(factor).mean())
        factors.append(factor.clip(1 / _LARGEST, _LARGEST).astype(np.float32))
    return factors


def equalize(model: onnx.ModelProto, pairs: Sequence[Pair], factors: Sequence[Values]) -> onnx.ModelProto:
    """A copy that computes the same, with every channel between the pairs multiplied."""
    from onnx import ModelProto, numpy_helper

    result = ModelProto()
    result.CopyFrom(model)
    tensors = {tensor.name: tensor for tensor in result.graph.initializer}
    for pair, factor in zip(pairs, factors, strict=True):
        weight, following = (numpy_helper.to_array(tensors[name]) for name in (pair.weight, pair.next_weight))
        by_group = _by_group(pair, following)
        inverse = factor.reshape(pair.groups, 1, -1, *[1] * (by_group.ndim - 3))
        scaled = {
            pair.weight: weight * factor.reshape(-1, *[1] * (weight.ndim - 1)),
            pair.next_weight: (by_group / inverse).reshape(following.shape),
        }
        if pair.bias:
            scaled[pair.bias] = numpy_helper.to_array(tensors[pair.bias]) * factor
        for name, value in scaled.items():
            tensors[name].CopyFrom(numpy_helper.from_array(value, name))
    return result


def _by_group(pair: Pair, following: Values) -> Values:
    """The second weight as [groups, outputs, inputs, ...]."""
    return following.reshape(pair.groups, -1, *following.shape[1:])


def _peaks(model: onnx.ModelProto, names: Sequence[str], samples: Iterable[Arrays]) -> list[Values]:
    """The largest magnitude in each channel of each tensor over all samples."""
    from onnx import ModelProto, TensorProto, helper

    probed = ModelProto()
    probed.CopyFrom(model)
    peaks = [f"probe.peak.{index}" for index in range(len(names))]
    for name, peak in zip(names, peaks, strict=True):
        probed.graph.node.append(helper.make_node("Abs", [name], [f"{peak}.abs"]))
        probed.graph.node.append(helper.make_node("GlobalMaxPool", [f"{peak}.abs"], [peak]))
    probed.graph.output.extend(helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in peaks)
    session = cpu_session(probed)
    found = (session.run(peaks, sample) for sample in samples)
    largest = [[value.max(axis=0).reshape(-1) for value in values] for values in found]
    return [np.max(values, axis=0) for values in zip(*largest, strict=True)]


def record(model: onnx.ModelProto, pairs: Sequence[Pair], factors: Sequence[Values]) -> None:
    """Write into a quantized model what its tensors are multiples of, for `recorded`."""
    scaled = {name: f.tolist() for pair, f in zip(pairs, factors, strict=True) for name in pair.between}
    model.metadata_props.add(key=_RECORD, value=json.dumps(scaled))


def recorded(model: onnx.ModelProto) -> dict[str, Values]:
    """By tensor of a quantized model, the factor on each channel, axis 1, that the float model's has not."""
    scaled: dict[str, list[float]] = next(
        (json.loads(each.value) for each in model.metadata_props if each.key == _RECORD), {}
    )
    return {name: np.array(factor, np.float32) for name, factor in scaled.items()}
