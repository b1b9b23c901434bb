"""Mixed precision: which activations of an 8-bit model get 16 bits.

Those that cost the outputs most when they alone are rounded to 8 bits. An activation's own rounding error is no guide:
on ConvNeXt and MobileNetV2 30 percent of the activations chosen by it gain about a tenth of what this gains, or less.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from model_zoo.base.spec import Arrays
from model_zoo.toolchains.local.bounds import RECTIFIERS
from model_zoo.toolchains.local.onnx_graph import DATA_MOVEMENT
from model_zoo.toolchains.local.quantize.calibrate import Ranges, cpu_session
from model_zoo.utils.errors import ModelZooError

if TYPE_CHECKING:
    import onnx

#: Runs for each sample; a larger model's activations are judged in blocks of neighbours.
_MAX_BLOCKS = 64
#: Narrowest real range that QNN takes, as in onnxruntime's QNN configuration.
_MINIMUM_RANGE = 0.0001


def candidates(model: onnx.ModelProto, activations: list[str]) -> dict[str, list[str]]:
    """The activations that can be chosen: outputs of nodes that compute.

    Args:
        activations: Names of all float tensors, in graph order.

    Returns:
        By the tensor to measure: the tensors that change with it. They are two where a Relu or Clip follows its only
        producer, for both belong to one operation.
    """
    consumers = defaultdict(list)
    producers = {}
    for node in model.graph.node:
        for name in node.input:
            consumers[name].append(node)
        for name in node.output:
            producers[name] = node
    outputs = {output.name for output in model.graph.output}
    known, groups = set(activations), {}
    for name in activations:
        node = producers.get(name)
        if node is None or node.op_type in DATA_MOVEMENT:
            continue
        after = consumers[name]
        if len(after) == 1 and after[0].op_type in RECTIFIERS and name not in outputs and after[0].output[0] in known:
            continue
        before = node.input[0]
        fused = (
            node.op_type in RECTIFIERS and len(consumers[before]) == 1 and before in producers and before not in outputs
        )
        groups[name] = [before, name] if fused else [name]
    return groups


def blocks(names: Sequence[str]) -> list[list[str]]:
    """Cut a list into at most `_MAX_BLOCKS` runs of neighbours of about equal length."""
    edges = np.linspace(0, len(names), min(len(names), _MAX_BLOCKS) + 1).astype(int)
    return [list(names[start:end]) for start, end in pairwise(edges)]


def choose(found: Sequence[Sequence[str]], noise: Sequence[float], percentage: float) -> list[str]:
    """Take blocks in the order of the noise that each of their members makes, the loudest and then the first first.

    Args:
        percentage: Of all members, rounded to the nearest whole number of them.

    Returns:
        The chosen, in graph order.
    """
    count = math.floor(sum(map(len, found)) * percentage / 100 + 0.5)
    order = sorted(range(len(found)), key=lambda index: -noise[index] / len(found[index]))
    chosen = set([name for index in order for name in found[index]][:count])
    return [name for block in found for name in block if name in chosen]


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
    """What each change alone costs at the float outputs of the model, all measured in one session.

    Args:
        names: The activations that changes may round.

    Returns:
        For each change, noise power over signal power, summed over outputs and samples.

    Raises:
        ModelZooError: The model has no float output.
    """
    from onnx import ModelProto, TensorProto, helper

    outputs = [value.name for value in model.graph.output if value.type.tensor_type.elem_type == TensorProto.FLOAT]
    if not outputs:
        raise ModelZooError("a mixed precision needs a float output to judge tensors by, the model has none")
    switched = ModelProto()
    switched.CopyFrom(model)
    _add_switches(switched.graph, names, ranges)
    rounded = [f"probe.out.{names.index(name)}" if name in names else name for name in outputs]
    for name in set(rounded) - set(outputs):
        switched.graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, None))
    session = cpu_session(switched)
    del switched
    off = np.zeros(len(names), bool)
    loaded = list(samples)
    expected = [session.run(rounded, {**sample, "probe.on": off}) for sample in loaded]
    power = [[float(np.sum(np.square(value, dtype=np.float64))) for value in values] for values in expected]
    noise = []
    for change in changes:
        noise.append(0.0)
        feeds = {**change.weights, "probe.on": np.isin(names, list(change.activations))}
        for sample, signals, powers in zip(loaded, expected, power, strict=True):
            values = session.run(rounded, {**sample, **feeds})
            for signal, value, whole in zip(signals, values, powers, strict=True):
                if whole:
                    noise[-1] += float(np.sum(np.square(signal - value, dtype=np.float64))) / whole
    return noise


def _add_switches(graph: onnx.GraphProto, names: Sequence[str], ranges: Ranges) -> None:
    """Give every reader of a tensor its 8-bit rounding instead, where its element of the input "probe.on" is true."""
    from onnx import TensorProto, helper, numpy_helper

    after: dict[str, list[onnx.NodeProto]] = {}
    for index, name in enumerate(names):
        low, high = min(ranges[name][0], 0.0), max(ranges[name][1], 0.0)
        scale = np.float32(max(high - low, _MINIMUM_RANGE) / 255)
        zero = np.round(-low / scale).clip(0, 255).astype(np.uint8)
        at, scale_name, zero_name, q, dq, on, out = (
            f"probe.{part}.{index}" for part in ("at", "scale", "zero", "q", "dq", "on", "out")
        )
        for constant, value in ((at, np.int64(index)), (scale_name, scale), (zero_name, zero)):
            graph.initializer.append(numpy_helper.from_array(np.asarray(value), constant))
        after[name] = [
            helper.make_node("QuantizeLinear", [name, scale_name, zero_name], [q]),
            helper.make_node("DequantizeLinear", [q, scale_name, zero_name], [dq]),
            helper.make_node("Gather", ["probe.on", at], [on]),
            helper.make_node("Where", [on, dq, name], [out]),
        ]
    nodes = []
    for node in graph.node:
        for index, name in enumerate(node.input):
            if name in after:
                node.input[index] = after[name][-1].output[0]
        nodes.append(node)
        nodes += [extra for name in node.output for extra in after.get(name, [])]
    del graph.node[:]
    graph.node.extend(nodes)
    graph.input.append(helper.make_tensor_value_info("probe.on", TensorProto.BOOL, [len(names)]))
