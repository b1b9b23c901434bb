"""Cross-layer equalization: what two convolutions hand over gets about the same range in every channel.

Nagel et al. 2019, "Data-Free Quantization Through Weight Equalization and Bias Correction". A tensor between two
convolutions has one scale, so that channels of a small range get few of its steps. Multiplying a channel by a positive
number, and the weights that read it by the inverse, changes no output. Theirs makes the ranges of both weights equal.
Here weights have a scale for each output channel, so that the tensor itself, as calibration samples show it, and the
weights that read it take the place of the two.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pydantic

from model_zoo.base.spec import Arrays
from model_zoo.toolchains.local.onnx_graph import elements, set_constant
from model_zoo.toolchains.local.quantize.calibrate import ProbedModel, Values

if TYPE_CHECKING:
    import onnx
    import onnx_ir as ir

#: A factor on a channel goes through them unchanged as long as it is positive.
_HOMOGENEOUS = frozenset({"LeakyRelu", "MaxPool", "PRelu", "Relu"})
#: Largest factor, and its inverse the smallest: a channel that the samples leave silent may not be so on others.
_LARGEST = 16.0
#: For channels without weights or values.
_SMALLEST = 1e-9
_RECORD = "model_zoo.equalized"
_FACTORS = pydantic.TypeAdapter(dict[str, list[float]])


@dataclass(frozen=True)
class ConvPair:
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


def find_pairs(model: onnx.ModelProto) -> list[ConvPair]:
    """Every pair with constant weights that nothing else reads, nor the tensors between, of which none is an output."""
    import onnx_ir as ir

    pairs = []
    for first in ir.from_proto(model).graph:
        if first.op_type != "Conv" or not _own(first.inputs[1:]):
            continue
        node, between = first, list[str]()
        while len(node.outputs) == 1 and len(node.outputs[0].uses()) == 1 and not node.outputs[0].is_graph_output():
            between.append(str(node.outputs[0].name))
            ((node, index),) = node.outputs[0].uses()
            if node.op_type not in _HOMOGENEOUS or index:
                break
        if not between or node.op_type != "Conv" or index or not _own(node.inputs[1:2]):
            continue
        weight, bias, following = (_name(value) for value in (*[*first.inputs[1:], None][:2], node.inputs[1]))
        pairs.append(ConvPair(weight, bias, following, node.attributes.get_int("group", 1), tuple(between)))
    return pairs


def find_factors(
    model: onnx.ModelProto, pairs: Sequence[ConvPair], samples: Iterable[Arrays], for_weights: bool
) -> list[Values]:
    """What to multiply each channel between each pair by.

    Args:
        for_weights: Make a channel's range equal to that of the weights that read it; or else go half of the way to
            equal ranges of all channels.
    """
    probed, factors = ProbedModel(model), []
    for pair, peak in zip(pairs, _peaks(probed, [pair.between[-1] for pair in pairs], samples), strict=True):
        by_group = _by_group(pair, elements(probed.tensors[pair.next_weight]))
        weight = np.abs(by_group).max(axis=(1, *range(3, by_group.ndim))).reshape(-1) if for_weights else 1.0
        factor = np.sqrt(np.maximum(weight, _SMALLEST) / np.maximum(peak, _SMALLEST))
        factor /= np.exp(np.log(factor).mean())
        factors.append(factor.clip(1 / _LARGEST, _LARGEST).astype(np.float32))
    return factors


def equalize(model: onnx.ModelProto, pairs: Sequence[ConvPair], factors: Sequence[Values]) -> onnx.ModelProto:
    """A copy that computes the same, with every channel between the pairs multiplied."""
    import onnx_ir as ir

    result = ir.from_proto(model)
    values = result.graph.initializers
    for pair, factor in zip(pairs, factors, strict=True):
        weight, following = elements(values[pair.weight]), elements(values[pair.next_weight])
        by_group = _by_group(pair, following)
        inverse = factor.reshape(pair.groups, 1, -1, *[1] * (by_group.ndim - 3))
        set_constant(values[pair.weight], weight * factor.reshape(-1, *[1] * (weight.ndim - 1)))
        set_constant(values[pair.next_weight], by_group / inverse)
        if pair.bias:
            set_constant(values[pair.bias], elements(values[pair.bias]) * factor)
    return ir.to_proto(result)


def record_factors(model: onnx.ModelProto, pairs: Sequence[ConvPair], factors: Sequence[Values]) -> None:
    """Write into a quantized model what its tensors are multiples of, for `recorded`."""
    scaled = {name: f.tolist() for pair, f in zip(pairs, factors, strict=True) for name in pair.between}
    model.metadata_props.add(key=_RECORD, value=json.dumps(scaled))


def recorded(model: onnx.ModelProto) -> dict[str, Values]:
    """By tensor of a quantized model, the factor on each channel, axis 1, that the float model's has not."""
    scaled = next((_FACTORS.validate_json(each.value) for each in model.metadata_props if each.key == _RECORD), {})
    return {name: np.array(factor, np.float32) for name, factor in scaled.items()}


def _own(values: Sequence[ir.Value | None]) -> bool:
    return all(value is None or (value.is_initializer() and len(value.uses()) == 1) for value in values)


def _name(value: ir.Value | None) -> str:
    return "" if value is None else str(value.name)


def _by_group(pair: ConvPair, following: Values) -> Values:
    """The second weight as [groups, outputs, inputs, ...]."""
    return following.reshape(pair.groups, -1, *following.shape[1:])


def _peaks(probed: ProbedModel, names: Sequence[str], samples: Iterable[Arrays]) -> list[Values]:
    """The largest magnitude in each channel of each tensor over all samples."""
    peaks = [probed.add("GlobalMaxPool", probed.add("Abs", probed.tensors[name])) for name in names]
    session = probed.session(peaks)
    peaks_of = (session.run([peak.name for peak in peaks], sample) for sample in samples)
    largest = [[value.max(axis=0).reshape(-1) for value in values] for values in peaks_of]
    return [np.max(values, axis=0) for values in zip(*largest, strict=True)]
