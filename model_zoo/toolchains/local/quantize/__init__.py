"""ONNX in, quantized ONNX out: QDQ form, as QNN takes it."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pydantic

from model_zoo.base.spec import Arrays
from model_zoo.runtimes.base import write_samples
from model_zoo.targets.precision import Precision
from model_zoo.toolchains.base import Assignment, Lowered, LoweringRequest
from model_zoo.utils.errors import UserError
from model_zoo.utils.files import atomic_write, write_error
from model_zoo.utils.jobs import Limits, run_child
from model_zoo.utils.temporary import temporary_folder

_WORKER = "model_zoo.toolchains.local.quantize.recipe"
_LIMITS = Limits()


class QuantizeJob(pydantic.BaseModel, frozen=True):
    """What the child process does; the arguments of `quantize_onnx`, checked."""

    onnx: str
    precision: Precision
    input_names: list[str]
    samples: int
    mixed_percentage: float | None = None
    assignment: Assignment | None = None
    outputs_16bit: list[str] = []


class LoweredOnnx(NamedTuple):
    """An ONNX model that the NPU compiler can take.

    Args:
        file: Quantized: QuantizeLinear and DequantizeLinear around every operator that QNN quantizes; float inputs and
            outputs; weights inside the file.
        settings: What took effect: passes that changed the graph, and of a quantized model what `recipe.run` returns.
        peak_memory_bytes: Largest resident memory of the child process; 0 where none was needed.
    """

    file: Path
    settings: dict[str, Any]
    peak_memory_bytes: int = 0


def prepare_onnx(onnx: Path, *, out_dir: Path, stem: str) -> LoweredOnnx:
    """Apply the graph passes that a float build needs, into `<stem>.onnx`.

    Raises:
        ModelZooError: The file is not a whole ONNX model, or the result cannot be written.
    """
    import onnx_ir as ir

    from model_zoo.toolchains.local.onnx_graph import load_onnx
    from model_zoo.toolchains.local.passes import apply_passes

    model = ir.from_proto(load_onnx(onnx))
    passes = apply_passes(model, Precision.FLOAT)
    file = out_dir / f"{stem}.onnx"
    with atomic_write(file) as temporary:
        if passes:
            temporary.write_bytes(ir.to_proto(model).SerializeToString())
        else:
            shutil.copyfile(onnx, temporary)
    return LoweredOnnx(file, {"passes": passes})


def quantize_onnx(
    onnx: Path,
    *,
    precision: Precision,
    calibration: Sequence[Arrays],
    out_dir: Path,
    stem: str,
    mixed_percentage: float = 30.0,
    assignment: Assignment | None = None,
    outputs_16bit: Sequence[str] = (),
    limits: Limits = _LIMITS,
) -> LoweredOnnx:
    """Quantize a float model in a child process.

    What is done, and by which figures it is kept, `recipe.STEPS` lists. From 8 samples on the last quarter (8 at most)
    is held out to measure that. A mixed precision gives 16 bits to the activations that cost the outputs most in 8
    bits, measured on the first samples, and where the operators beside them need it.

    Args:
        onnx: Float model with its weights inside; stays as it is.
        calibration: One or more samples, all inputs by name.
        out_dir: Existing folder; gets `<stem>.onnx`, or nothing.
        mixed_percentage: Percent of the activations that get 16 bits; for a mixed precision only.
        assignment: Tensors that get other than 8 bits, in place of a percentage; for an 8-bit precision only.
        outputs_16bit: Outputs that 8 bits are too coarse for: in an 8-bit precision they are computed in 16 bits,
            from the last linear operators on.

    Raises:
        UserError: The precision is float, there is no sample, the percentage is not within 0 to 100, or an assignment
            comes with a precision that has no 8 bits.
        ModelZooError: The model cannot be quantized, an activation is not finite, or the child went past a limit.
    """
    scheme = precision.scheme
    if not scheme.integers:
        quantized = ", ".join(each for each in Precision if each.is_quantized)
        raise UserError(f"precision '{precision}' is not quantized", f"use one of {quantized}")
    if not calibration:
        raise UserError("quantization needs at least one calibration sample", "use num_calibration_samples=16 or more")
    if not 0 <= mixed_percentage <= 100:
        raise UserError(f"{mixed_percentage} percent of the activations in 16 bits: it must be within 0 to 100")
    if assignment is not None and not scheme.integers_8bit:
        raise UserError(f"an assignment of bits starts from w8a8, not from {precision}")
    wide_outputs = list(outputs_16bit) if scheme.integers_8bit else []
    job = QuantizeJob(
        onnx=str(onnx.resolve()),
        precision=precision.widened(assignment is not None or bool(wide_outputs)),
        input_names=list(calibration[0]),
        samples=len(calibration),
        mixed_percentage=mixed_percentage if scheme.mixed and assignment is None else None,
        assignment=assignment,
        outputs_16bit=wide_outputs,
    )
    file = out_dir / f"{stem}.onnx"
    try:
        with temporary_folder(file) as work_dir:
            write_samples(work_dir / "samples.npz", calibration)
            child = run_child(_WORKER, job.model_dump(mode="json"), work_dir, limits, f"quantize to {job.precision}")
            (work_dir / "quantized.onnx").replace(file)
    except OSError as error:
        raise write_error(file, error) from error
    return LoweredOnnx(file, child.value, child.peak_memory_bytes)


def lower_onnx(request: LoweringRequest, out_dir: Path) -> Lowered:
    """Bring an ONNX file into its target precision; its inputs and outputs stay in torch's layout."""
    if request.precision is Precision.FLOAT:
        built = prepare_onnx(request.source, out_dir=out_dir, stem=request.component)
    else:
        built = quantize_onnx(
            request.source,
            precision=request.precision,
            calibration=request.calibration(),
            out_dir=out_dir,
            stem=request.component,
            mixed_percentage=request.mixed_percentage,
            assignment=request.assignment,
            outputs_16bit=request.outputs_16bit,
        )
    return Lowered(**{**built._asdict(), "file": built.file.name})
