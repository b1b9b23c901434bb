"""Values of a float ONNX model's activations on calibration samples, measured inside the graph: memory stays flat.

This stands in for onnxruntime's own min-max calibrater, which steps over NaN and measures every tensor without need.
The ranges go to its quantizer as its calibration cache.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import count
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from model_zoo.base.spec import Arrays
from model_zoo.toolchains.local.onnx_graph import (
    UNBOUNDED,
    Bounds,
    add_constant,
    constant,
    find_bounds,
    infer_shapes,
    new_node,
    only_rectified,
    values_of,
)
from model_zoo.utils.errors import ModelZooError

if TYPE_CHECKING:
    import onnx
    import onnx_ir as ir
    import onnxruntime

Ranges = dict[str, tuple[float, float]]
Values = npt.NDArray[np.float32]

#: Outputs by which a tensor is measured.
_PROBES = 5
_SAME_VALUES = frozenset({"Flatten", "Reshape", "Squeeze", "Transpose", "Unsqueeze"})


def cpu_session(model: onnx.ModelProto | ir.Model) -> onnxruntime.InferenceSession:
    """Load a model with probes in it for the host CPU."""
    import onnx_ir as ir
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.enable_mem_pattern = False  # planned memory is a third more at the peak, and saves no time here
    # A probe's own QuantizeLinear must stay what it is.
    options.add_session_config_entry("session.disable_quant_qdq", "1")
    proto = ir.to_proto(model) if isinstance(model, ir.Model) else model
    return onnxruntime.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])


class ProbedModel:
    """A copy of a model with more nodes and outputs, by which its tensors are measured or changed."""

    def __init__(self, model: onnx.ModelProto) -> None:
        import onnx_ir as ir

        self.model = ir.from_proto(model)
        self._names = (f"probe.{index}" for index in count())
        self.graph = self.model.graph
        self.tensors = values_of(self.graph)

    def add(self, op_type: str, *inputs: ir.Value | None, after: ir.Value | None = None, **attributes: Any) -> ir.Value:
        """Add a node behind the one that makes a tensor, or at the end; returns its output."""
        node = new_node(op_type, inputs, next(self._names), **attributes)
        producer = after.producer() if after is not None else None
        if producer is None:
            self.graph.append(node)
        else:
            self.graph.insert_after(producer, node)
        return node.outputs[0]

    def constant(self, array: np.ndarray | np.generic) -> ir.Value:
        """Add an initializer."""
        return add_constant(self.graph, next(self._names), array)

    def session(self, outputs: Iterable[ir.Value]) -> onnxruntime.InferenceSession:
        """Load the model with more outputs for the host CPU."""
        self.graph.outputs.extend(value for value in outputs if not value.is_graph_output())
        return cpu_session(self.model)


def activation_names(model: onnx.ModelProto) -> list[str]:
    """Every float32 tensor that depends on the inputs, in graph order."""
    import onnx_ir as ir

    typed = ir.from_proto(model)
    infer_shapes(typed)
    values = [value for value in typed.graph.inputs if constant(value) is None]
    values += [value for node in typed.graph for value in node.outputs if value.name]
    for value in values:
        if value.type is None:
            raise ModelZooError(f"the type of tensor '{value.name}' cannot be inferred")
    return [str(value.name) for value in values if value.dtype == ir.DataType.FLOAT]


@dataclass(frozen=True, eq=False)
class Observed:
    """One tensor on n samples; equal to itself alone, so that functions of it are cached.

    Args:
        lows, highs: [n] smallest and largest value.
        values: [n, kept] elements spread evenly over the tensor.
        stride: Steps from one element that was kept to the next.
        bounds: What no value can go beyond, on any sample.
    """

    lows: Values
    highs: Values
    values: Values
    stride: int
    bounds: Bounds = UNBOUNDED

    @cache  # noqa: B019 - as many as there are tensors, in a child process
    def first(self, count: int) -> Observed:
        """The same on the first samples only."""
        return replace(self, lows=self.lows[:count], highs=self.highs[:count], values=self.values[:count])


def observe(model: onnx.ModelProto, names: Sequence[str], samples: Iterable[Arrays], kept: int) -> dict[str, Observed]:
    """Measure each tensor on each sample, in one run of the model for each.

    Args:
        kept: Elements of each tensor and sample to keep, about; 0 keeps one.

    Returns:
        By tensor; tensors with the same values share one entry.

    Raises:
        ModelZooError: A tensor holds NaN or infinite values on a sample; names both.
    """
    probed = ProbedModel(model)
    shared = _shared_ranges(probed.graph, set(names))
    bounds = find_bounds(probed.graph)
    measured = [name for name in names if name not in shared]
    probes = _add_probes(probed, measured, kept)
    session, wanted = probed.session(probes), [value.name for value in probes]
    runs: list[list[tuple[np.ndarray, ...]]] = []
    for number, sample in enumerate(samples):
        runs.append(list(zip(*[iter(session.run(wanted, sample))] * _PROBES, strict=True)))
        for name, row in zip(measured, runs[-1], strict=True):
            if not np.isfinite(row[:3]).all():
                raise ModelZooError(f"tensor '{name}' holds NaN or infinite values on calibration sample {number}")
    observed = {}
    for name, rows in zip(measured, zip(*runs, strict=True), strict=True):
        lows, highs, _, values, steps = map(np.stack, zip(*rows, strict=True))
        observed[name] = Observed(lows, highs, values, int(steps[-1][0]), bounds.get(name, UNBOUNDED))
    return {name: observed[shared.get(name, name)] for name in names}


def _add_probes(probed: ProbedModel, names: Sequence[str], kept: int) -> list[ir.Value]:
    """`_PROBES` outputs for each tensor: its least and largest value, its sum, elements, and their distance."""
    every, first, last = (probed.constant(np.array([number])) for number in (-1, 0, 2**62))
    one, two, share = (probed.constant(np.array([number])) for number in (1, 2, max(kept, 1) * 2))
    probes: list[ir.Value] = []
    for value in map(probed.tensors.__getitem__, names):
        # ReduceMin and ReduceMax step over NaN on some code paths; a sum never does.
        probes += [probed.add(f"Reduce{name}", value, keepdims=0) for name in ("Min", "Max", "Sum")]
        # An odd step meets every column of a picture whose width is even.
        pairs = probed.add("Div", probed.add("Size", value), share)
        step = probed.add("Add", probed.add("Mul", pairs, two), one)
        probes += [probed.add("Slice", probed.add("Reshape", value, every), first, last, first, step), step]
    return probes


def _shared_ranges(graph: ir.Graph, names: set[str]) -> dict[str, str]:
    """Tensors that share another's range, so that measuring them is wasted: up to 40 % of the calibration time.

    A tensor that only a Relu or Clip reads gets the range behind it, as in onnxruntime's quantizer; a reshaped or
    transposed tensor has its source's.
    """
    shared: dict[str, str] = {}
    for node in graph:
        x = node.inputs[0] if node.inputs else None
        before, after = str(x.name) if x is not None else "", [str(value.name) for value in node.outputs]
        if x is None or not names.issuperset((before, *after)):
            continue
        if only_rectified(x):
            shared[before] = after[0]
        elif node.op_type in _SAME_VALUES:
            shared[after[0]] = before
    for name in shared:
        while shared[name] in shared:
            shared[name] = shared[shared[name]]
    return shared
