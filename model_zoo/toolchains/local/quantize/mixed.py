"""Mixed precision: which activations of an 8-bit model get 16 bits.

Those that cost the outputs most when they alone are rounded to 8 bits. An activation's own rounding error is no guide:
on ConvNeXt and MobileNetV2 30 percent of the activations chosen by it gain about a tenth of what this gains, or less.
"""

from __future__ import annotations

import math
from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from model_zoo.base.spec import Arrays
from model_zoo.toolchains.local.onnx_graph import DATA_MOVEMENT, RECTIFIERS, only_rectified, values_of
from model_zoo.toolchains.local.quantize.calibrate import ProbedModel, Ranges
from model_zoo.toolchains.local.quantize.ranges import LEVELS_8BIT, MINIMUM_RANGE
from model_zoo.utils.errors import ModelZooError

if TYPE_CHECKING:
    import onnx
    import onnx_ir as ir

#: Samples that activations are compared on; more hardly change the order.
COMPARED_ON = 2
#: Runs for each sample; a larger model's activations are compared in blocks of neighbours.
_MAX_BLOCKS = 64
_LINEAR = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})


def candidates(model: onnx.ModelProto, activations: list[str]) -> dict[str, list[str]]:
    """Those activations that can be chosen, outputs of nodes that compute, with the tensors that change with each.

    They are two where a Relu or Clip follows its only producer, for both belong to one operation.
    """
    import onnx_ir as ir

    values, known = values_of(ir.from_proto(model).graph), set(activations)
    groups: dict[str, list[str]] = {}
    for name in activations:
        node = values[name].producer()
        if node is None or node.op_type in DATA_MOVEMENT:
            continue
        if only_rectified(values[name]) and values[name].consumers()[0].outputs[0].name in known:
            continue
        before = node.inputs[0] if node.op_type in RECTIFIERS else None
        fused = before is not None and before.producer() is not None and only_rectified(before)
        groups[name] = [str(before.name), name] if before is not None and fused else [name]
    return groups


def decoding(model: onnx.ModelProto, outputs: Sequence[str], known: Container[str]) -> set[str]:
    """The known activations on the way to these outputs, from the last linear operators on, their own outputs included.

    It is e.g. how a detector turns its logits into boxes.
    """
    import onnx_ir as ir

    values = values_of(ir.from_proto(model).graph)
    behind: set[ir.Value] = set()
    left: list[ir.Value | None] = [values[name] for name in outputs]
    while left:
        value = left.pop()
        node = value.producer() if value is not None else None
        if value is None or node is None or value in behind:
            continue
        behind.add(value)
        if node.op_type not in _LINEAR:
            left += node.inputs
    return {str(value.name) for value in behind if value.name in known}


def blocks(names: Sequence[str]) -> list[list[str]]:
    """Cut a list into at most `_MAX_BLOCKS` runs of neighbours of about equal length."""
    edges = np.linspace(0, len(names), min(len(names), _MAX_BLOCKS) + 1).astype(int)
    return [list(names[start:end]) for start, end in pairwise(edges)]


def choose(parts: Sequence[Sequence[str]], noise: Sequence[float], percentage: float) -> list[str]:
    """Take a percentage of all members, in the order of the noise that a block makes for each of its members.

    The most comes first, then graph order, which the result is in; the count is rounded to the nearest.
    """
    count = math.floor(sum(map(len, parts)) * percentage / 100 + 0.5)
    order = sorted(range(len(parts)), key=lambda index: -noise[index] / len(parts[index]))
    chosen = set([name for index in order for name in parts[index]][:count])
    return [name for part in parts for name in part if name in chosen]


@dataclass(frozen=True)
class Change:
    """What one run does otherwise than the float model.

    Args:
        activations: Tensors rounded to 8 bits.
        weights: Values that stand in for those of initializers, by name.
    """

    activations: Sequence[str] = ()
    weights: Arrays = field(default_factory=dict)


def output_noise(
    model: onnx.ModelProto, names: Sequence[str], ranges: Ranges, changes: Iterable[Change], samples: Iterable[Arrays]
) -> list[float]:
    """What each change alone costs: noise power over signal power, summed over float outputs and samples.

    All are measured in one session, in which the activations with these names can be rounded.
    """
    import onnx_ir as ir

    probed = ProbedModel(model)
    switches = _add_switches(probed, names, ranges)
    floats = [value for value in probed.graph.outputs if value.dtype == ir.DataType.FLOAT]
    if not floats:
        raise ModelZooError("a mixed precision needs a float output to compare tensors by, the model has none")
    outputs = [switches.get(str(value.name), value) for value in floats]
    session, wanted = probed.session(outputs), [value.name for value in outputs]
    off = np.zeros(len(names), bool)
    loaded = list(samples)
    expected = [session.run(wanted, {**sample, "probe.on": off}) for sample in loaded]
    power = [[float(np.sum(np.square(value, dtype=np.float64))) for value in values] for values in expected]
    noise = []
    for change in changes:
        noise.append(0.0)
        feeds = {**change.weights, "probe.on": np.isin(names, list(change.activations))}
        for sample, signals, powers in zip(loaded, expected, power, strict=True):
            values = session.run(wanted, {**sample, **feeds})
            for signal, value, whole in zip(signals, values, powers, strict=True):
                if whole:
                    noise[-1] += float(np.sum(np.square(signal - value, dtype=np.float64))) / whole
    return noise


def _add_switches(probed: ProbedModel, names: Sequence[str], ranges: Ranges) -> dict[str, ir.Value]:
    """Let readers of a tensor see another one: rounded to 8 bits where its element of the input "probe.on" is true."""
    import onnx_ir as ir

    on = ir.Value(name="probe.on", type=ir.TensorType(ir.DataType.BOOL), shape=ir.Shape([len(names)]))
    probed.graph.inputs.append(on)
    switches = {}
    for index, name in enumerate(names):
        value = probed.tensors[name]
        uses = value.uses()
        low, high = min(ranges[name][0], 0.0), max(ranges[name][1], 0.0)
        step = np.float32(max(high - low, MINIMUM_RANGE) / LEVELS_8BIT)
        scale = probed.constant(step)
        zero = probed.constant(np.round(-low / step).clip(0, LEVELS_8BIT).astype(np.uint8))
        integers = probed.add("QuantizeLinear", value, scale, zero, after=value)
        rounded = probed.add("DequantizeLinear", integers, scale, zero, after=integers)
        chosen = probed.add("Gather", on, probed.constant(np.int64(index)), after=rounded)
        switches[name] = probed.add("Where", chosen, rounded, value, after=chosen)
        for node, position in uses:
            node.replace_input_with(position, switches[name])
    return switches
