"""Ranges of a float ONNX model's activations on calibration samples, found inside the graph so that memory stays flat.

This stands in for onnxruntime's own min-max calibrater, which steps over NaN and measures every tensor without need.
The ranges go to its quantizer as its calibration cache.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from model_zoo.base.spec import Arrays
from model_zoo.toolchains.local.bounds import RECTIFIERS, UNBOUNDED, Bounds, find_bounds
from model_zoo.utils.errors import ModelZooError

if TYPE_CHECKING:
    import onnx
    import onnxruntime

Ranges = dict[str, tuple[float, float]]
Values = npt.NDArray[np.float32]


def activation_names(model: onnx.ModelProto) -> list[str]:
    """Every float32 tensor that depends on the inputs, in graph order.

    Raises:
        ModelZooError: The type of a tensor is not known even after shape inference.
    """
    from onnx import TensorProto, shape_inference

    produced = [output for node in model.graph.node for output in node.output if output]
    types = _element_types(model)
    if any(name not in types for name in produced):
        types = _element_types(shape_inference.infer_shapes(model))
    weights = {tensor.name for tensor in model.graph.initializer}
    names = [value.name for value in model.graph.input if value.name not in weights] + produced
    for name in names:
        if name not in types:
            raise ModelZooError(f"the type of tensor '{name}' cannot be inferred")
    return [name for name in names if types[name] == TensorProto.FLOAT]


@dataclass(frozen=True)
class Observed:
    """One tensor on n samples.

    Args:
        lows, highs: [n] smallest and largest value.
        values: [n, kept] elements spread evenly over the tensor.
        stride: Every how manieth element was kept.
        bounds: What no value can go beyond, on any sample.
    """

    lows: Values
    highs: Values
    values: Values
    stride: int
    bounds: Bounds = UNBOUNDED

    def first(self, count: int) -> Observed:
        """The same on the first samples only."""
        return replace(self, lows=self.lows[:count], highs=self.highs[:count], values=self.values[:count])

    @property
    def size(self) -> int:
        """Elements of the tensor, about."""
        return int(self.values.shape[1]) * self.stride


def observe(model: onnx.ModelProto, names: Sequence[str], samples: Iterable[Arrays], kept: int) -> dict[str, Observed]:
    """Look at each tensor on each sample, in one run of the model for each.

    Args:
        kept: Elements of each tensor and sample to keep, about; 0 keeps one.

    Returns:
        By tensor; tensors with the same values share one entry.

    Raises:
        ModelZooError: A tensor holds NaN or infinite values on a sample; names both.
    """
    same = _same_range(model, set(names))
    measured = [name for name in names if name not in same]
    session, outputs = _probed(model, measured, kept)
    extremes: list[Values] = []
    values: list[list[Values]] = [[] for _ in measured]
    steps: list[int] = []
    for number, sample in enumerate(samples):
        found = session.run(outputs, sample)
        row = np.array(found[: 3 * len(measured)], np.float32).reshape(-1, 3)
        broken = np.flatnonzero(~np.isfinite(row).all(axis=1))
        if broken.size:
            raise ModelZooError(
                f"tensor '{measured[broken[0]]}' holds NaN or infinite values on calibration sample {number}"
            )
        extremes.append(row[:, :2])
        for index, kept_values in enumerate(found[3 * len(measured) : -len(measured)]):
            values[index].append(kept_values)
        steps = [int(step[0]) for step in found[-len(measured) :]]
    both, bounds = np.stack(extremes), find_bounds(model)
    observed = {
        name: Observed(
            both[:, index, 0], both[:, index, 1], np.stack(values[index]), steps[index], bounds.get(name, UNBOUNDED)
        )
        for index, name in enumerate(measured)
    }
    return {name: observed[same.get(name, name)] for name in names}


def find_ranges(model: onnx.ModelProto, names: Sequence[str], samples: Iterable[Arrays]) -> Ranges:
    """Smallest and largest value of each tensor over all samples.

    Raises:
        ModelZooError: A tensor holds NaN or infinite values on a sample; names both.
    """
    return {
        name: (float(each.lows.min()), float(each.highs.max()))
        for name, each in observe(model, names, samples, 0).items()
    }


def _probed(model: onnx.ModelProto, names: Sequence[str], kept: int) -> tuple[onnxruntime.InferenceSession, list[str]]:
    """The model with what is asked of each tensor as its outputs: three numbers each, then elements, then steps."""
    from onnx import ModelProto, TensorProto, helper, numpy_helper

    probed = ModelProto()
    probed.CopyFrom(model)
    graph = probed.graph
    constants = {"all": [-1], "first": [0], "last": [2**62], "twice": [2], "share": [max(kept, 1) * 2], "one": [1]}
    for key, value in constants.items():
        graph.initializer.append(numpy_helper.from_array(np.array(value, np.int64), f"probe.{key}"))
    numbers, elements, steps = [], [], []
    for index, name in enumerate(names):
        # ReduceMin and ReduceMax step over NaN on some code paths; a sum never does.
        for reduction in ("ReduceMin", "ReduceMax", "ReduceSum"):
            numbers.append(f"probe.{reduction}.{index}")
            graph.node.append(helper.make_node(reduction, [name], numbers[-1:], keepdims=0))
        flat, size, pairs, even, step, part = (
            f"probe.{part}.{index}" for part in ("flat", "size", "pairs", "even", "step", "part")
        )
        # An odd step meets every column of a picture whose width is even.
        graph.node.extend(
            [
                helper.make_node("Size", [name], [size]),
                helper.make_node("Div", [size, "probe.share"], [pairs]),
                helper.make_node("Mul", [pairs, "probe.twice"], [even]),
                helper.make_node("Add", [even, "probe.one"], [step]),
                helper.make_node("Reshape", [name, "probe.all"], [flat]),
                helper.make_node("Slice", [flat, "probe.first", "probe.last", "probe.first", step], [part]),
            ]
        )
        elements.append(part)
        steps.append(step)
    for outputs, kind, shape in (
        (numbers, TensorProto.FLOAT, []),
        (elements, TensorProto.FLOAT, [None]),
        (steps, TensorProto.INT64, [1]),
    ):
        graph.output.extend(helper.make_tensor_value_info(name, kind, shape) for name in outputs)
    return cpu_session(probed), [*numbers, *elements, *steps]


def _same_range(model: onnx.ModelProto, names: set[str]) -> dict[str, str]:
    """Tensors that share another's range, so that measuring them is wasted: up to 40 % of the calibration time.

    A tensor that only a Relu or Clip reads gets the range behind it, as in onnxruntime's quantizer; a reshaped or
    transposed tensor has its source's.
    """
    readers = Counter(name for node in model.graph.node for name in node.input)
    outputs = {output.name for output in model.graph.output}
    same: dict[str, str] = {}
    for node in model.graph.node:
        if not (names.issuperset(node.input[:1]) and names.issuperset(node.output)):
            continue
        if node.op_type in RECTIFIERS and readers[node.input[0]] == 1 and node.input[0] not in outputs:
            same[node.input[0]] = node.output[0]
        elif node.op_type in ("Flatten", "Reshape", "Squeeze", "Transpose", "Unsqueeze"):
            same[node.output[0]] = node.input[0]
    for name in same:
        while same[name] in same:
            same[name] = same[same[name]]
    return same


def cpu_session(model: onnx.ModelProto) -> onnxruntime.InferenceSession:
    """Load a model with probes in it for the host CPU."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.enable_mem_pattern = False  # planned memory is a third more at the peak, and saves no time here
    # A probe's own QuantizeLinear must stay what it is.
    options.add_session_config_entry("session.disable_quant_qdq", "1")
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def _element_types(model: onnx.ModelProto) -> dict[str, int]:
    graph = model.graph
    return {value.name: value.type.tensor_type.elem_type for value in (*graph.input, *graph.value_info, *graph.output)}
