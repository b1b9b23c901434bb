"""Ranges of a float ONNX model's activations on calibration samples, found inside the graph so that memory stays flat.

This stands in for onnxruntime's own min-max calibrater, which steps over NaN and measures every tensor without need.
The ranges go to its quantizer as its calibration cache.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from model_zoo.base.spec import Arrays
from model_zoo.utils.errors import ModelZooError

if TYPE_CHECKING:
    import onnx
    import onnxruntime

Ranges = dict[str, tuple[float, float]]


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


def find_ranges(model: onnx.ModelProto, names: Sequence[str], samples: Iterable[Arrays]) -> Ranges:
    """Smallest and largest value of each tensor over all samples.

    Raises:
        ModelZooError: A tensor holds NaN or infinite values on a sample; names both.
    """
    from onnx import ModelProto, TensorProto, helper

    same = _same_range(model, set(names))
    measured = [name for name in names if name not in same]
    probed = ModelProto()
    probed.CopyFrom(model)
    outputs = []
    for index, name in enumerate(measured):
        # ReduceMin and ReduceMax step over NaN on some code paths; a sum never does.
        for reduction in ("ReduceMin", "ReduceMax", "ReduceSum"):
            outputs.append(f"probe.{reduction}.{index}")
            probed.graph.node.append(helper.make_node(reduction, [name], outputs[-1:], keepdims=0))
            probed.graph.output.append(helper.make_tensor_value_info(outputs[-1], TensorProto.FLOAT, []))
    session = cpu_session(probed)
    del probed
    low, high = np.full(len(measured), np.inf, np.float32), np.full(len(measured), -np.inf, np.float32)
    for number, sample in enumerate(samples):
        row = np.array(session.run(outputs, sample), np.float32).reshape(-1, 3)
        broken = np.flatnonzero(~np.isfinite(row).all(axis=1))
        if broken.size:
            raise ModelZooError(
                f"tensor '{measured[broken[0]]}' holds NaN or infinite values on calibration sample {number}"
            )
        low, high = np.minimum(low, row[:, 0]), np.maximum(high, row[:, 1])
    ranges = {name: (float(low[index]), float(high[index])) for index, name in enumerate(measured)}
    return {name: ranges[same.get(name, name)] for name in names}


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
        if node.op_type in ("Relu", "Clip") and readers[node.input[0]] == 1 and node.input[0] not in outputs:
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
