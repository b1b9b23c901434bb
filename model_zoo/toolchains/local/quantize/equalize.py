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
from model_zoo.toolchains.local.onnx_graph import elements, own_constants, set_constant
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
    """Two convolutions, and the tensors between them in order, of which none minds a factor."""

    first: ir.Node
    second: ir.Node
    between: tuple[str, ...]

    def by_group(self, weight: Values) -> Values:
        """A weight of the second as [groups, outputs, inputs, ...]."""
        return weight.reshape(self.second.attributes.get_int("group", 1), -1, *weight.shape[1:])


def find_pairs(graph: ir.Graph) -> list[ConvPair]:
    """Every pair with constant weights that nothing else reads, nor the tensors between, of which none is an output."""
    pairs = []
    for first in graph:
        if first.op_type != "Conv" or not own_constants(first.inputs[1:]):
            continue
        node, between = first, list[str]()
        while len(node.outputs) == 1 and len(node.outputs[0].uses()) == 1 and not node.outputs[0].is_graph_output():
            between.append(str(node.outputs[0].name))
            ((node, index),) = node.outputs[0].uses()
            if node.op_type not in _HOMOGENEOUS or index:
                break
        if between and node.op_type == "Conv" and not index and own_constants(node.inputs[1:2]):
            pairs.append(ConvPair(first, node, tuple(between)))
    return pairs


def find_factors(
    model: onnx.ModelProto, pairs: Sequence[ConvPair], samples: Iterable[Arrays], for_weights: bool
) -> list[Values]:
    """What to multiply each channel between each pair by, so that its range is that of the weights that read it.

    Without `for_weights`, half of the way to equal ranges of all channels.
    """
    factors = []
    for pair, peak in zip(pairs, _peaks(model, [pair.between[-1] for pair in pairs], samples), strict=True):
        by_group = pair.by_group(elements(pair.second.inputs[1]))
        weight = np.abs(by_group).max(axis=(1, *range(3, by_group.ndim))).reshape(-1) if for_weights else 1.0
        factor = np.sqrt(np.maximum(weight, _SMALLEST) / np.maximum(peak, _SMALLEST))
        factor /= np.exp(np.log(factor).mean())
        factors.append(factor.clip(1 / _LARGEST, _LARGEST).astype(np.float32))
    return factors


def equalize(pairs: Sequence[ConvPair], factors: Sequence[Values]) -> None:
    """Multiply every channel between pairs, in place; their graph computes the same."""
    for pair, factor in zip(pairs, factors, strict=True):
        weight, *bias = [value for value in pair.first.inputs[1:] if value is not None]
        set_constant(weight, elements(weight) * factor.reshape(-1, *[1] * (elements(weight).ndim - 1)))
        for value in bias:
            set_constant(value, elements(value) * factor)
        by_group = pair.by_group(elements(pair.second.inputs[1]))
        inverse = factor.reshape(len(by_group), 1, -1, *[1] * (by_group.ndim - 3))
        set_constant(pair.second.inputs[1], by_group / inverse)


def record_factors(model: onnx.ModelProto, pairs: Sequence[ConvPair], factors: Sequence[Values]) -> None:
    """Write into a quantized model what its tensors are multiples of, for `recorded`."""
    scaled = {name: f.tolist() for pair, f in zip(pairs, factors, strict=True) for name in pair.between}
    model.metadata_props.add(key=_RECORD, value=json.dumps(scaled))


def recorded(model: onnx.ModelProto) -> dict[str, Values]:
    """By tensor of a quantized model, the factor on each channel, axis 1, that the float model's has not."""
    scaled = next((_FACTORS.validate_json(each.value) for each in model.metadata_props if each.key == _RECORD), {})
    return {name: np.array(factor, np.float32) for name, factor in scaled.items()}


def _peaks(model: onnx.ModelProto, names: Sequence[str], samples: Iterable[Arrays]) -> list[Values]:
    """The largest magnitude in each channel of each tensor over all samples."""
    probed = ProbedModel(model)
    peaks = [probed.add("GlobalMaxPool", probed.add("Abs", probed.tensors[name])) for name in names]
    session = probed.session(peaks)
    runs = [session.run([peak.name for peak in peaks], sample) for sample in samples]
    return [np.concatenate(values).max(axis=0).reshape(-1) for values in zip(*runs, strict=True)]
