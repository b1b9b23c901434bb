"""LiteRT: an exported program becomes a .tflite file, float or w8a8."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from model_zoo.base.spec import Arrays
from model_zoo.runtimes.base import write_samples
from model_zoo.runtimes.litert import require_packages
from model_zoo.targets.precision import Precision
from model_zoo.utils.errors import UserError
from model_zoo.utils.files import write_error
from model_zoo.utils.jobs import Limits, run_child
from model_zoo.utils.layout import channels_last
from model_zoo.utils.temporary import temporary_folder

_WORKER = "model_zoo.toolchains.local.litert_convert"
_LIMITS = Limits()


@dataclass(frozen=True)
class LitertBuild:
    """A finished .tflite file.

    Args:
        file: One signature, `serving_default`, with the model's own names. Float inputs and outputs stay float32;
            64-bit integers become 32-bit.
        range_method: How activation ranges were found, "moving_average" or "min_max"; None for float.
        range_scores: SQNR in dB of each method against the float file, mean over the outputs; empty for float.
        convert_seconds: Wall time of the child without `quantize_seconds`: its start, imports and conversion.
        quantize_seconds: Calibration, quantization and scoring by both methods.
        peak_memory_bytes: Largest resident memory of the child.
        settings: Options that took effect.
    """

    file: Path
    range_method: str | None
    range_scores: dict[str, float]
    convert_seconds: float
    quantize_seconds: float
    peak_memory_bytes: int
    settings: dict[str, str]


def require_litert() -> None:
    """Refuse if LiteRT's converter, quantizer or runtime is absent.

    Raises:
        UserError: With the pip line.
    """
    require_packages("litert_torch", "ai_edge_quantizer", "ai_edge_litert")


def tool_versions() -> dict[str, str]:
    """Versions of the packages that make a .tflite file."""
    packages = ("torch", "litert-torch", "litert-converter", "ai-edge-litert", "ai-edge-quantizer")
    return {package: version(package) for package in packages}


def compile_tflite(
    program: Path,
    *,
    input_names: list[str],
    output_names: list[str],
    precision: Precision,
    out_dir: Path,
    stem: str,
    channel_last_inputs: Collection[str] = (),
    channel_last_outputs: Collection[str] = (),
    calibration: Sequence[Arrays] = (),
    limits: Limits = _LIMITS,
) -> LitertBuild:
    """Convert an exported program in a child process.

    w8a8: int8 weights by channel, int8 activations. Their ranges are found twice, as a moving average of each sample's
    minimum and maximum and as the overall minimum and maximum; neither is always better, so the file that is nearer
    to the float one wins. From 8 samples on, the last quarter (8 at most) is kept back to judge this.

    Args:
        program: Saved by `torch.export.save`; takes the inputs by position.
        input_names: In call order.
        output_names: In the order of the outputs.
        out_dir: Existing folder; gets `<stem>.tflite`, or nothing.
        channel_last_inputs: Inputs whose axis 1 is the last one in the file.
        channel_last_outputs: The same of outputs.
        calibration: Samples that fit the program's inputs and hold no NaN; w8a8 only.

    Raises:
        UserError: LiteRT is not installed, or has no such precision, or w8a8 comes without samples.
        ModelZooError: The conversion failed, or went past a limit.
    """
    require_litert()
    if precision not in (Precision.FLOAT, Precision.W8A8):
        raise UserError(f"tflite has no {precision}: it takes float, w8a8")
    quantized = precision is Precision.W8A8
    if quantized and not calibration:
        raise UserError("tflite w8a8 needs calibration samples")
    job = {
        "program": str(program.resolve()),
        "input_names": input_names,
        "output_names": output_names,
        "channel_last": [*channel_last_inputs, *channel_last_outputs],
        "quantized": quantized,
    }
    file = out_dir / f"{stem}.tflite"
    try:
        with temporary_folder(file) as work_dir:
            if quantized:
                write_samples(
                    work_dir / "samples.npz", [channels_last(sample, channel_last_inputs) for sample in calibration]
                )
            child = run_child(_WORKER, job, work_dir, limits, f"convert {stem} to LiteRT")
            (work_dir / child.value["file"]).replace(file)
    except OSError as error:
        raise write_error(file, error) from error
    quantize_seconds = float(child.value["quantize_seconds"])
    return LitertBuild(
        file=file,
        range_method=child.value["range_method"],
        range_scores=child.value["range_scores"],
        convert_seconds=child.seconds - quantize_seconds,
        quantize_seconds=quantize_seconds,
        peak_memory_bytes=child.peak_memory_bytes,
        settings=child.value["settings"],
    )
