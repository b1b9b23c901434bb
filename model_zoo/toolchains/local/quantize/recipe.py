"""Child process: quantize one ONNX file with onnxruntime's QNN configuration."""

from __future__ import annotations

import contextlib
import shutil
import sys
import uuid
from collections.abc import Iterator
from dataclasses import asdict, replace
from itertools import islice
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import onnx

from model_zoo.base.spec import Arrays
from model_zoo.targets.precision import Precision
from model_zoo.toolchains.base import Assignment
from model_zoo.toolchains.local.bounds import RECTIFIERS
from model_zoo.toolchains.local.onnx_graph import load_onnx
from model_zoo.toolchains.local.passes import ACTIVATIONS_16BIT, all_nodes, apply_passes
from model_zoo.toolchains.local.quantize.activations import (
    LEVELS_8BIT,
    LEVELS_16BIT,
    ChosenRanges,
    choose_ranges,
    widened,
)
from model_zoo.toolchains.local.quantize.calibrate import Observed, Ranges, activation_names, observe
from model_zoo.toolchains.local.quantize.decoding import decoding
from model_zoo.toolchains.local.quantize.equalize import equalize, find_factors, find_pairs, record, recorded
from model_zoo.toolchains.local.quantize.holdout import WORTH_DB, Judge, held_back
from model_zoo.toolchains.local.quantize.mixed import Change, blocks, candidates, choose, output_noise
from model_zoo.toolchains.local.quantize.weight_fitting import choose_weights
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

#: Samples that the activations of a mixed precision are judged on; more hardly change the order.
JUDGED_ON = 2
#: Elements of each tensor that are looked at, of all samples together.
_OBSERVED = 2**15
#: Samples that weights are fitted on, and the size of one tensor on all of them.
_FITTED, _FITTED_BYTES = 16, 2**27

#: Operators whose meaning another opset changed, and which did.
_CHANGED = {"DFT": 20, "GridSample": 20, "GroupNormalization": 21}

Overrides = dict[str, list[dict[str, Any]]]


class Samples:
    """The samples of an .npz file, read one at a time, as often as asked."""

    def __init__(self, path: Path, names: list[str], count: int) -> None:
        self.path, self.names, self.count = path, names, count

    def __iter__(self) -> Iterator[Arrays]:
        with np.load(self.path, allow_pickle=False) as file:
            for index in range(self.count):
                yield {name: file[f"{index}.{name}"] for name in self.names}


def run(job: dict[str, Any], work_dir: Path) -> dict[str, Any]:
    """Quantize `job["onnx"]` into `work_dir`/quantized.onnx. Gives what took effect."""
    mixed_percentage: float | None = job["mixed_percentage"]
    activation = QuantType[job["activation_type"]]
    samples = Samples(work_dir / "samples.npz", job["input_names"], job["samples"])

    source, model, passes = prepare(Path(job["onnx"]), work_dir, Precision(job["precision"]))
    activations = activation_names(model)
    if not activations:
        raise ModelZooError("the model has no float activations to quantize")
    count, groups = held_back(samples.count), candidates(model, activations)
    judged = list(islice(samples, samples.count - count if count else 0, None))
    levels = LEVELS_8BIT if activation is QuantType.QUInt8 else LEVELS_16BIT
    given = Assignment(**job["assignment"]) if job["assignment"] else Assignment()
    wide = {*given.activations_16bit, *decoding(model, job["outputs_16bit"], groups)}
    narrow = [name for name in groups if name not in wide]

    def look(model: onnx.ModelProto) -> tuple[ChosenRanges, dict[str, Observed]]:
        observed = observe(model, activations, samples, _OBSERVED // samples.count)
        return choose_ranges(model, observed, narrow, levels, judged, count), observed

    chosen, observed = look(model)
    if mixed_percentage is not None:
        found = blocks(narrow)
        changes = [Change(block) for block in found]
        noise = output_noise(model, narrow, chosen.ranges, changes, islice(samples, JUDGED_ON))
        wide.update(choose(found, noise, mixed_percentage))
    overrides = _assigned(model, groups, replace(given, activations_16bit=tuple(sorted(wide))))
    in_16_bits = [tensor for name in wide for tensor in groups[name]]
    chosen = widened(chosen, observed, in_16_bits)
    assignment = replace(given, activations_16bit=tuple(name for name in groups if name in wide))
    judge = Judge(model, judged)
    result = _round(job, model, source, chosen.ranges, overrides, work_dir)
    scores = {"nearest": judge.sqnr_db(result)}
    equalized: dict[str, float] = {}
    if pairs := find_pairs(model):
        first = islice(samples, samples.count - count)
        factors = find_factors(model, pairs, first, for_weights=levels == LEVELS_16BIT)
        even = equalize(model, pairs, factors)
        onnx.save(even, work_dir / "equalized.onnx")
        ranges = widened(*look(even), in_16_bits)
        other = _round(job, even, work_dir / "equalized.onnx", ranges.ranges, overrides, work_dir)
        equalized = {"plain": scores["nearest"], "equalized": judge.sqnr_db(other)}
        if equalized["equalized"] >= equalized["plain"] + WORTH_DB:
            model, chosen, result = even, ranges, other
            scores = {"nearest": equalized["equalized"]}
            record(result, pairs, factors)
    largest = 4 * max(each.size for each in observed.values())
    fitted = onnx.ModelProto()
    fitted.CopyFrom(result)
    fit_on = min(samples.count - count, _FITTED, max(1, _FITTED_BYTES // largest))
    if choose_weights(model, fitted, list(islice(samples, fit_on))):
        scores["fitted"] = judge.sqnr_db(fitted)
    rounding = max(scores, key=lambda name: scores[name])
    onnx.save(fitted if rounding == "fitted" else result, work_dir / "quantized.onnx")
    return {
        "passes": passes,
        "opset": _opset(result).version,
        "assignment": asdict(assignment),
        "settings": {
            "other_domains": sorted({node.domain for node in all_nodes(result.graph) if node.domain}),
            "range_methods": chosen.methods,
            "range_sqnr_db": chosen.sqnr_db,
            "equalized": bool(recorded(result)),
            "equalization_sqnr_db": equalized,
            "weight_rounding": rounding,
            "weight_sqnr_db": scores,
            "judged_on": len(judged),
            "held_back": count,
            "fitted_on": fit_on,
        },
    }


@_named_at_random
def _round(
    job: dict[str, Any], model: onnx.ModelProto, file: Path, ranges: Ranges, overrides: Overrides, work_dir: Path
) -> onnx.ModelProto:
    """The model, which is in that file too, with every weight rounded to the nearest."""
    config = get_qnn_qdq_config(
        model,
        None,
        calibrate_method=CalibrationMethod.MinMax,
        activation_type=QuantType[job["activation_type"]],
        weight_type=QuantType[job["weight_type"]],
        per_channel=job["per_channel"],
        init_overrides=overrides,
        add_qtype_converts=bool(overrides),
    )
    if job["per_channel"]:
        # Added last: the configuration would take them for a request to widen the activations around them.
        config.extra_options["TensorQuantOverrides"].update(_layer_norm_overrides(model))
    softmaxes = _softmaxes_16bit(model, overrides, job["activation_type"])
    for name in (_outputs_behind_rectifiers(model) | softmaxes) & ranges.keys():
        low, high = (np.array(end, np.float32) for end in ranges[name])
        (override,) = config.extra_options["TensorQuantOverrides"].setdefault(name, [{}])
        override.update(rmin=low, rmax=high)
    # The quantizer itself knows where it needs them: it may raise the opset after the configuration was made.
    config.extra_options.pop("UseQDQContribOps", None)
    _write_ranges(ranges, work_dir / "ranges.json")
    quantize_static(
        file,
        work_dir / "nearest.onnx",
        None,
        calibrate_method=CalibrationMethod.MinMax,
        activation_type=config.activation_type,
        weight_type=config.weight_type,
        op_types_to_quantize=config.op_types_to_quantize,
        per_channel=config.per_channel,
        extra_options=config.extra_options,
        calibration_cache_path=work_dir / "ranges.json",
    )
    return onnx.load(work_dir / "nearest.onnx")


def _assigned(model: onnx.ModelProto, groups: dict[str, list[str]], assignment: Assignment) -> Overrides:
    """The overrides that give tensors their bits.

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


@_named_at_random
def prepare(file: Path, work_dir: Path, precision: Precision) -> tuple[Path, onnx.ModelProto, list[str]]:
    """Our passes and onnxruntime's, into a file in `work_dir`: the quantizer writes beside its input."""
    model = load_onnx(file)
    source = file
    passes = apply_passes(model, precision)
    least = 21 if precision in ACTIVATIONS_16BIT else 20
    if _raise_opset(model, least):
        passes.append(f"opset_{least}")
    if _fuse_gelu(model):
        passes.append("gelu")
    if passes:
        source = work_dir / "passes.onnx"
        onnx.save(model, source)
    changed = work_dir / "preprocessed.onnx"
    if qnn_preprocess_model(source, changed):
        return changed, onnx.load(changed), [*passes, "qnn_preprocess_model"]
    if source == file:
        source = work_dir / "source.onnx"
        shutil.copyfile(file, source)
    return source, model, passes


def _raise_opset(model: onnx.ModelProto, least: int) -> bool:
    """Take a model from opset 18 or later to 20, which has Gelu, or to 21, the first with 16-bit QuantizeLinear.

    Those only add types and options, but for the operators of `_CHANGED`. Left to itself the quantizer converts the
    model by copying all weights several times, 900 MB for ViT-B, and by leaving ONNX's own operators for com.microsoft
    ones.
    """
    opset = _opset(model)
    changed = {name for name, version in _CHANGED.items() if opset.version < version <= least}
    if not 18 <= opset.version < least or any(node.op_type in changed for node in all_nodes(model.graph)):
        return False
    opset.version = least
    return True


def _opset(model: onnx.ModelProto) -> onnx.OperatorSetIdProto:
    opset: onnx.OperatorSetIdProto = next(each for each in model.opset_import if each.domain in ("", "ai.onnx"))
    return opset


def _fuse_gelu(model: onnx.ModelProto) -> bool:
    """Make one Gelu of its single operators where ONNX has it, from opset 20 on.

    There onnxruntime's own preparation finds nothing left to do, and throws away the model that it found it in.
    """
    fused = ONNXModel(model)
    if _opset(model).version < 20 or not FusionGelu(fused).apply():
        return False
    fused.topological_sort()
    for node in model.graph.node:
        if (node.domain, node.op_type) == ("com.microsoft", "Gelu"):
            node.domain = ""
    return True


def _layer_norm_overrides(model: onnx.ModelProto) -> Overrides:
    """One unsigned scale for each LayerNormalization gamma: QNN refuses the signed one that it would get by default."""
    weights = {tensor.name for tensor in model.graph.initializer}
    gammas = [node.input[1] for node in model.graph.node if node.op_type == "LayerNormalization"]
    return {name: [{"quant_type": QuantType.QUInt8, "symmetric": False}] for name in gammas if name in weights}


def _outputs_behind_rectifiers(model: onnx.ModelProto) -> set[str]:
    """Outputs of the model that a Relu or Clip reads too: the quantizer would cut them off where it cuts off."""
    outputs = {output.name for output in model.graph.output}
    return outputs & {node.input[0] for node in model.graph.node if node.op_type in RECTIFIERS}


def _softmaxes_16bit(model: onnx.ModelProto, overrides: Overrides, activation_type: str) -> set[str]:
    """Outputs of a Softmax in 16 bits, which the quantizer would give the range 0..1.

    QAIRT 2.51 cuts them off where it should round: half a step of 1/65535 too low on average, which is 1.2 % of even
    attention over 1568 tokens.
    """
    names = {node.output[0] for node in model.graph.node if node.op_type == "Softmax"}
    if activation_type == QuantType.QUInt16.name:
        return names
    return {name for name in names if overrides.get(name, [{}])[0].get("quant_type") == QuantType.QUInt16}


def _write_ranges(ranges: Ranges, path: Path) -> None:
    data = {
        name: TensorData(lowest=np.array([low], np.float32), highest=np.array([high], np.float32))
        for name, (low, high) in ranges.items()
    }
    save_tensors_data(TensorsData(CalibrationMethod.MinMax, data), path)
