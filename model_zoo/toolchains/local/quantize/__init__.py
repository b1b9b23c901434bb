"""ONNX in, quantized ONNX out: QDQ form, as QNN takes it."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from model_zoo.base.spec import Arrays
from model_zoo.runtimes.base import write_samples
from model_zoo.targets.precision import Precision
from model_zoo.toolchains.base import Assignment
from model_zoo.utils.errors import UserError
from model_zoo.utils.files import atomic_write, write_error
from model_zoo.utils.jobs import Limits, run_child
from model_zoo.utils.temporary import temporary_folder

_WORKER = "model_zoo.toolchains.local.quantize.recipe"
_LIMITS = Limits()


@dataclass(frozen=True)
class Scheme:
    """Number types of a precision, by onnxruntime's names.

    Args:
        per_channel: One weight scale for each output channel of a convolution, not one for the whole tensor.
    """

    activation_type: str
    weight_type: str
    per_channel: bool


SCHEMES = {
    Precision.W8A8: Scheme("QUInt8", "QInt8", per_channel=True),
    Precision.W8A16: Scheme("QUInt16", "QInt8", per_channel=True),
    Precision.W8A8_MIXED_INT16: Scheme("QUInt8", "QInt8", per_channel=True),
    Precision.W4A16: Scheme("QUInt16", "QInt4", per_channel=True),
    Precision.W16A16: Scheme("QUInt16", "QInt16", per_channel=False),
}


@dataclass(frozen=True)
class Quantized:
    """A quantized model.

    Args:
        file: ONNX with QuantizeLinear and DequantizeLinear around every operator that QNN quantizes; float inputs and
            outputs; weights inside the file.
        settings: What took effect: types, sample counts, passes that changed the graph, opset, domains of operators
            that are not ONNX's own, the assignment of a mixed precision, how each range was found, whether channels
            were equalized, how weights were rounded ("nearest" or "fitted"), and the SQNR in dB on the host CPU that
            decided each.
        seconds: Wall time of the child process.
        peak_memory_bytes: Its largest resident memory.
    """

    file: Path
    precision: Precision
    settings: dict[str, Any]
    seconds: float
    peak_memory_bytes: int


@dataclass(frozen=True)
class Prepared:
    """A float model that the NPU compiler can take.

    Args:
        passes: Names of the graph passes that changed something.
        peak_memory_bytes: 0, because no child process was needed.
    """

    file: Path
    passes: tuple[str, ...]
    peak_memory_bytes: int = 0


def prepare_onnx(onnx: Path, *, out_dir: Path, stem: str) -> Prepared:
    """Apply the graph passes that a float build needs.

    Args:
        onnx: File with its weights inside; stays as it is.
        out_dir: Existing folder; gets `<stem>.onnx`, or nothing.

    Raises:
        ModelZooError: The file is not a whole ONNX model, or the result cannot be written.
    """
    from model_zoo.toolchains.local.onnx_graph import load_onnx
    from model_zoo.toolchains.local.passes import apply_passes

    model = load_onnx(onnx)
    passes = apply_passes(model, Precision.FLOAT)
    with atomic_write(out_dir / f"{stem}.onnx") as temporary:
        if passes:
            temporary.write_bytes(model.SerializeToString())
        else:
            shutil.copyfile(onnx, temporary)
    return Prepared(out_dir / f"{stem}.onnx", tuple(passes))


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
) -> Quantized:
    """Quantize a float model in a child process.

    Each activation's range is found by the method that errs least on samples it did not see. 4-bit and 8-bit weights
    are fitted layer by layer to the inputs of the quantized model. Between convolutions channels are equalized. Each is
    kept only if the outputs come nearer to the float model's; from 8 samples on the last quarter (8 at most) is held
    back to measure that. A mixed precision gives 16 bits to the activations that cost the outputs most in 8 bits,
    measured on the first samples, and where the operators beside them need it.

    Args:
        onnx: Float model with its weights inside; stays as it is.
        calibration: One or more samples, all inputs by name.
        out_dir: Existing folder; gets `<stem>.onnx`, or nothing.
        mixed_percentage: Percent of the activations that get 16 bits; for a mixed precision only.
        assignment: Tensors that get other than 8 bits, in place of a percentage; for an 8-bit precision only.
        outputs_16bit: Outputs that 8 bits are too coarse for: in an 8-bit precision they are worked out in 16 bits,
            from the last linear operators on.

    Raises:
        UserError: The precision is float, there is no sample, the percentage is not within 0 to 100, or an assignment
            comes with a precision that has no 8 bits.
        ModelZooError: The model cannot be quantized, an activation is not finite, or the child went past a limit.
    """
    if precision not in SCHEMES:
        raise UserError(f"precision '{precision}' is not quantized", f"use one of {', '.join(SCHEMES)}")
    if not calibration:
        raise UserError(
            "quantization needs at least one calibration sample", "use --num-calibration-samples 16 or more"
        )
    if not 0 <= mixed_percentage <= 100:
        raise UserError(f"{mixed_percentage} percent of the activations in 16 bits: it must be within 0 to 100")
    in_8_bits = precision in (Precision.W8A8, Precision.W8A8_MIXED_INT16)
    if assignment is not None and not in_8_bits:
        raise UserError(f"an assignment of bits starts from w8a8, not from {precision}")
    mixed = precision is Precision.W8A8_MIXED_INT16 and assignment is None
    if assignment is not None or (outputs_16bit and in_8_bits):
        precision = Precision.W8A8_MIXED_INT16
    settings: dict[str, Any] = {
        **asdict(SCHEMES[precision]),
        "calibration_samples": len(calibration),
    }
    job = {
        **asdict(SCHEMES[precision]),
        "precision": precision.value,
        "onnx": str(onnx.resolve()),
        "input_names": list(calibration[0]),
        "samples": len(calibration),
        "mixed_percentage": mixed_percentage if mixed else None,
        "assignment": asdict(assignment) if assignment is not None else None,
        "outputs_16bit": list(outputs_16bit) if in_8_bits else [],
    }
    file = out_dir / f"{stem}.onnx"
    try:
        with temporary_folder(file) as work_dir:
            write_samples(work_dir / "samples.npz", calibration)
            child = run_child(_WORKER, job, work_dir, limits, f"quantize to {precision}")
            (work_dir / "quantized.onnx").replace(file)
    except OSError as error:
        raise write_error(file, error) from error
    settings |= {"passes": child.value["passes"], "opset": child.value["opset"], **child.value["settings"]}
    if mixed:
        settings |= {"mixed_percentage": mixed_percentage}
    if precision is Precision.W8A8_MIXED_INT16:
        settings |= child.value["assignment"]
    if outputs_16bit and in_8_bits:
        settings |= {"outputs_16bit": list(outputs_16bit)}
    return Quantized(file, precision, settings, child.seconds, child.peak_memory_bytes)
