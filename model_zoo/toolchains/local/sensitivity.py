"""Which layers of a model suffer from few bits: each rounded alone, in one session, measured at the model's outputs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from model_zoo.base.spec import Arrays
from model_zoo.runtimes.base import write_samples
from model_zoo.targets.precision import Precision
from model_zoo.toolchains.local.onnx_graph import infer_shapes, maker, static_shape, values_of
from model_zoo.toolchains.local.quantize import QuantizeJob
from model_zoo.toolchains.measurement import Sensitivity
from model_zoo.utils.errors import ModelZooError
from model_zoo.utils.files import work_folder
from model_zoo.utils.jobs import Limits, run_child

#: Shares of the largest weight of a channel that 4 bits may span; the one with the least squared error is taken.
_SPANS = np.linspace(1.0, 0.4, 13)


def measure_sensitivity(captured: Path, calibration: Sequence[Arrays]) -> list[Sensitivity]:
    """Measure what 8 bits in each activation, and 8 and 4 bits in each weight, cost the outputs: each change alone.

    Activations are rounded within their range on all samples, weights to a symmetric grid for each output channel;
    the noise is measured on the first samples.

    Returns:
        The most harmful first.

    Raises:
        ModelZooError: The model has no float output or no activation, or the child went past a limit.
    """
    job = QuantizeJob(
        onnx=str(captured.resolve()),
        precision=Precision.W8A8_MIXED_INT16,  # as a build with an assignment is prepared, so that names are the same
        input_names=list(calibration[0]),
        samples=len(calibration),
    )
    with work_folder() as folder:
        write_samples(folder / "samples.npz", calibration)
        measured = run_child(__name__, job.model_dump(mode="json"), folder, Limits(), "measure sensitivity").value[
            "measured"
        ]
    return sorted(map(Sensitivity.model_validate, measured), key=lambda each: -each.noise)


def run(job: dict[str, Any], work_dir: Path) -> dict[str, Any]:
    """The child's work: everything in graph order."""
    import onnx_ir as ir
    from onnx import TensorProto, helper, numpy_helper

    from model_zoo.toolchains.local.quantize.calibrate import observe
    from model_zoo.toolchains.local.quantize.mixed import COMPARED_ON, Change, output_noise
    from model_zoo.toolchains.local.quantize.qdq import channel_axes
    from model_zoo.toolchains.local.quantize.recipe import Context

    context = Context(QuantizeJob.model_validate(job), work_dir)
    model, samples, activations = context.prepared.model, context.samples, list(context.groups)
    if not activations:
        raise ModelZooError("the model has no float activations to quantize")
    observed = observe(model, activations, samples, 0)
    ranges = {name: (float(each.lows.min()), float(each.highs.max())) for name, each in observed.items()}
    axes = channel_axes(model)
    weights = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer if tensor.name in axes}
    for name, value in weights.items():  # as inputs too: a run may then replace their values
        model.graph.input.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, value.shape))
    tensors = [("activation", name, 8) for name in activations]
    tensors += [("weights", name, bits) for name in weights for bits in (8, 4)]
    changes = (
        Change((name,)) if kind == "activation" else Change(weights={name: rounded(weights[name], axes[name], bits)})
        for kind, name, bits in tensors
    )
    compared = min(COMPARED_ON, samples.count)
    noise = output_noise(model, activations, ranges, changes, islice(samples, compared))
    typed = ir.from_proto(model)
    infer_shapes(typed)
    values = values_of(typed.graph)
    outputs = sum(value.dtype == ir.DataType.FLOAT for value in typed.graph.outputs)
    measured = []
    for (kind, name, bits), power in zip(tensors, noise, strict=True):
        node = maker(values[context.groups[name][0]]) if kind == "activation" else values[name].consumers()[-1]
        each = {"layer": node.name, "op_type": node.op_type, "kind": kind, "tensor": name, "bits": bits}
        elements = math.prod(static_shape(values[name]) or ())
        measured.append({**each, "elements": elements, "noise": power / compared / outputs})
    return {"measured": measured}


def rounded(weight: np.ndarray, axis: int | None, bits: int) -> np.ndarray:
    """A weight on its nearest symmetric grid.

    Args:
        axis: Of the channels that have a scale each; None: one scale for all.
        bits: 8 spans the largest value; 4 the span of least squared error.
    """
    top = 2 ** (bits - 1) - 1
    others = tuple(index for index in range(weight.ndim) if index != axis)
    peak = np.abs(weight).max(axis=others, keepdims=True)
    best, least = weight, np.full_like(peak, np.inf)
    for span in _SPANS if bits == 4 else (1.0,):
        scale = np.maximum(peak * span / top, np.finfo(np.float32).tiny)
        value = (np.rint(weight / scale).clip(-top - 1, top) * scale).astype(np.float32)
        error = np.square(weight - value).sum(axis=others, keepdims=True)
        best, least = np.where(error < least, value, best), np.minimum(error, least)
    return best
