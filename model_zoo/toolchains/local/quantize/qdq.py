"""onnxruntime's QNN quantizer: a model prepared for it, and rounded to the nearest integers by it, in QDQ form."""

from __future__ import annotations

import contextlib
import gc
import shutil
import sys
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import onnx
import onnx_ir as ir

from model_zoo.targets.precision import Precision, Scheme
from model_zoo.toolchains.base import Assignment
from model_zoo.toolchains.local.onnx_graph import RECTIFIERS, load_onnx
from model_zoo.toolchains.local.passes import apply_passes
from model_zoo.toolchains.local.quantize.calibrate import Ranges
from model_zoo.utils.errors import ModelZooError


@contextlib.contextmanager
def _without_torch() -> Iterator[None]:
    """onnxruntime's tools import torch if they find it, for nothing used here: 2.5 s and 400 MB."""
    hide = "torch" not in sys.modules
    if hide:
        sys.modules["torch"] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        if hide:
            del sys.modules["torch"]


with _without_torch():
    from onnxruntime.quantization import (
        CalibrationMethod,
        QuantType,
        TensorData,
        TensorsData,
        quantize_static,
        save_tensors_data,
    )
    from onnxruntime.quantization.execution_providers.qnn import get_qnn_qdq_config, qnn_preprocess_model
    from onnxruntime.quantization.fusions import FusionGelu
    from onnxruntime.quantization.onnx_model import ONNXModel

#: onnx calls temporary files after a uuid1, for which libuuid opens an internet socket: it reads the machine's address.
_named_at_random = patch("uuid.uuid1", uuid.uuid4)

#: Operators whose meaning another opset changed, and which did.
_CHANGED = {"DFT": 20, "GridSample": 20, "GroupNormalization": 21}

Overrides = dict[str, list[dict[str, Any]]]


@dataclass(frozen=True)
class PreparedModel:
    """A float model as onnxruntime's quantizer takes it, in a file too, which it writes beside."""

    file: Path
    model: onnx.ModelProto
    passes: list[str]


@_named_at_random
def prepare(file: Path, work_dir: Path, precision: Precision) -> PreparedModel:
    """Apply our passes and onnxruntime's, into a file in `work_dir`."""
    proto = load_onnx(file)
    model, source = ir.from_proto(proto), file
    passes = apply_passes(model, precision)
    least = 21 if precision.scheme.integers_16bit else 20
    if raise_opset(model, least):
        passes.append(f"opset_{least}")
    if passes:
        proto = ir.to_proto(model)
    del model
    gc.collect()  # a graph's nodes and values hold each other, and the weights before the passes
    if _fuse_gelu(proto):
        passes.append("gelu")
    if passes:
        source = work_dir / "passes.onnx"
        onnx.save(proto, source)
    changed = work_dir / "preprocessed.onnx"
    if qnn_preprocess_model(source, changed):
        return PreparedModel(changed, onnx.load(changed), [*passes, "qnn_preprocess_model"])
    if source == file:
        source = work_dir / "source.onnx"
        shutil.copyfile(file, source)
    return PreparedModel(source, proto, passes)


def raise_opset(model: ir.Model, least: int) -> bool:
    """Take a model from opset 18 or later to 20, which has Gelu, or to 21, the first with 16-bit QuantizeLinear.

    Those only add types and options, but for the operators of `_CHANGED`. Left to itself the quantizer converts the
    model by copying all weights several times, 900 MB for ViT-B, and by leaving ONNX's own operators for com.microsoft
    ones.
    """
    opset = model.opset_imports.get("", 0)
    changed = {name for name, version in _CHANGED.items() if opset < version <= least}
    if not 18 <= opset < least or any(node.op_type in changed for node in model.graph.all_nodes()):
        return False
    model.opset_imports[""] = least
    return True


def opset_version(model: onnx.ModelProto) -> int:
    """The version of ONNX's own operators."""
    return int(next(each.version for each in model.opset_import if each.domain in ("", "ai.onnx")))


def _fuse_gelu(model: onnx.ModelProto) -> bool:
    """Make one Gelu of its single operators where ONNX has it, from opset 20 on.

    There onnxruntime's own preparation finds nothing left to do, and throws away the model that it found it in.
    """
    fused = ONNXModel(model)
    if opset_version(model) < 20 or not FusionGelu(fused).apply():
        return False
    fused.topological_sort()
    for node in model.graph.node:
        if (node.domain, node.op_type) == ("com.microsoft", "Gelu"):
            node.domain = ""
    return True


@_named_at_random
def round_to_nearest(
    prepared: PreparedModel, scheme: Scheme, ranges: Ranges, overrides: Overrides, work_dir: Path
) -> onnx.ModelProto:
    """Quantize a model with every weight rounded to the nearest."""
    model, activation_type = prepared.model, QuantType[f"QUInt{scheme.activations}"]
    config = get_qnn_qdq_config(
        model,
        None,
        calibrate_method=CalibrationMethod.MinMax,
        activation_type=activation_type,
        weight_type=QuantType[f"QInt{scheme.weights}"],
        per_channel=scheme.per_channel,
        init_overrides=overrides,
        add_qtype_converts=bool(overrides),
    )
    wide = {name for name, (kind, *_) in overrides.items() if kind["quant_type"] == QuantType.QUInt16}
    _override_tensors(config.extra_options["TensorQuantOverrides"], model, scheme, ranges, wide)
    # The quantizer itself knows where it needs them: it may raise the opset after the configuration was made.
    config.extra_options.pop("UseQDQContribOps", None)
    cache = work_dir / "ranges.json"
    ends = {name: [np.array([end], np.float32) for end in ends] for name, ends in ranges.items()}
    tensors = {name: TensorData(lowest=low, highest=high) for name, (low, high) in ends.items()}
    save_tensors_data(TensorsData(CalibrationMethod.MinMax, tensors), cache)
    quantize_static(prepared.file, work_dir / "nearest.onnx", **vars(config), calibration_cache_path=cache)
    return onnx.load(work_dir / "nearest.onnx")


def _override_tensors(
    overrides: Overrides, model: onnx.ModelProto, scheme: Scheme, ranges: Ranges, wide: set[str]
) -> None:
    """Add what the quantizer's configuration for QNN lacks; in it, it would widen the activations around."""
    weights, outputs = ({each.name for each in values} for values in (model.graph.initializer, model.graph.output))
    ranged = set()
    for node in model.graph.node:
        # QNN refuses the signed scale that a LayerNormalization's gamma would get by default.
        if node.op_type == "LayerNormalization" and scheme.per_channel and node.input[1] in weights:
            overrides[node.input[1]] = [{"quant_type": QuantType.QUInt8, "symmetric": False}]
        # The quantizer would cut an output of the model off where a Relu or Clip that reads it too does.
        elif node.op_type in RECTIFIERS and node.input[0] in outputs:
            ranged.add(node.input[0])
        # It would give a Softmax the range 0..1. In 16 bits QAIRT 2.51 cuts that off where it should round: half a step
        # of 1/65535 too low on average, which is 1.2 % of even attention over 1568 tokens.
        elif node.op_type == "Softmax" and (not scheme.integers_8bit or node.output[0] in wide):
            ranged.add(node.output[0])
    for name in ranged & ranges.keys():
        low, high = (np.array(end, np.float32) for end in ranges[name])
        overrides.setdefault(name, [{}])[0].update(rmin=low, rmax=high)


def assigned_types(model: onnx.ModelProto, groups: dict[str, list[str]], assignment: Assignment) -> Overrides:
    """The overrides that give tensors their bits, and with an activation those that change with it.

    Raises:
        ModelZooError: No such activation can be chosen, or no such weight.
    """
    axes = channel_axes(model)
    for names, known in ((assignment.activations_16bit, set(groups)), (assignment.weights_4bit, set(axes))):
        if unknown := set(names) - known:
            raise ModelZooError(f"the model has no tensor '{min(unknown)}' whose bits can be chosen")
    wide = {t: [{"quant_type": QuantType.QUInt16}] for name in assignment.activations_16bit for t in groups[name]}
    narrow: Overrides = {}
    for name in assignment.weights_4bit:
        narrow[name] = [{"quant_type": QuantType.QInt4, "symmetric": True}]
        if axes[name] is not None:
            narrow[name][0]["axis"] = axes[name]
    return wide | narrow


def channel_axes(model: onnx.ModelProto) -> dict[str, int | None]:
    """Weights of the linear operators, with the axis of their output channels where QNN takes a scale for each."""
    weights = {tensor.name for tensor in model.graph.initializer}
    axes: dict[str, int | None] = {}
    for node in model.graph.node:
        if node.op_type == "MatMul":
            axes |= {name: None for name in node.input if name in weights}
        elif node.op_type in ("Conv", "ConvTranspose", "Gemm") and node.input[1] in weights:
            transposed = any(attribute.name == "transB" and attribute.i for attribute in node.attribute)
            axes[node.input[1]] = 0 if node.op_type == "Conv" or transposed else 1
    return axes
